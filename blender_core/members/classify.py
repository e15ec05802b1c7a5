"""Classify a provider's exception: the kind of failure, and whether a retry can help.

Providers' packages are not imported. Their exceptions share these features: an HTTP status, also of the response, a
Retry-After header, the names of the exception's classes, and Python's built-in exception types. Some gateways answer
with HTTP status 200 and an error object, which has a code; it counts as the status.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blender_core.errors import (
    MemberError,
    MemberTimeoutError,
    RateLimitedError,
    RefusedError,
    UnsupportedError,
)
from blender_core.redaction import redacted
from blender_core.runtime.closed_loops import foreign_loop
from blender_core.types.outcome import Status

__all__ = ["Failure", "classify", "http_status"]

_RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_REFUSAL_WORDS = (
    "contentfilter",
    "contentpolicy",
    "refusal",
    "responsibleai",
    "guardrail",
    "moderation",
)
_RATE_WORDS = ("ratelimit", "toomanyrequests", "resourceexhausted", "throttl", "quotaexceeded")
_TIMEOUT_WORDS = ("timeout", "deadlineexceeded")
_PASSING_WORDS = (
    "connect",
    "overloaded",
    "unavailable",
    "servererror",
    "remoteprotocol",
    "badgateway",
)
# how servers and clients say that prompt and answer do not fit the model's window
_TOO_LONG = re.compile(
    r"exceed_context_size|context_?length_?exceeded|context_?window_?exceeded|contextoverflow"
    r"|maximum context length|available context size|exceed context limit|fit into the model \(context length"
    r"|(?:prompt|input) is too long|input token count.{0,40}exceeds"
    r"|tokens\) is too large to process|must have less than \d+ tokens",
    re.IGNORECASE,
)
# the window stands at one of these, the surest first
_WINDOWS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\d(?: tokens)? > ([\d,]+)",
        r"allowed \(([\d,]+)",
        r"([\d,]+) maximum context",
        r"context (?:length|size|window|limit)\D{0,30}([\d,]+)",
        r"current batch size: ([\d,]+)",
        r"less than ([\d,]+) tokens",
    )
)
_FOREIGN_LOOP = (
    "its client belongs to another event loop; make the model inside the coroutine that asyncio.run gets, "
    "or use one asyncio.run for all calls"
)
_OWN: dict[type[MemberError], Status] = {
    RateLimitedError: Status.RATE_LIMITED,
    RefusedError: Status.REFUSED,
    MemberTimeoutError: Status.TIMEOUT,
    UnsupportedError: Status.UNSUPPORTED,
}
_NEVER_WORDS = ("authentication", "permission", "badrequest", "notfound", "invalidrequest", "unprocessable")


@dataclass(frozen=True, slots=True)
class Failure:
    """Describes a failure.

    Attributes:
        status: The member's status.
        retryable: Whether the same call may succeed later.
        retry_after: Seconds the provider asked for, if it did.
        reason: The reason in one line.
    """

    status: Status
    retryable: bool
    retry_after: float | None
    reason: str


def classify(error: BaseException) -> Failure:
    """Classify a member's exception.

    Args:
        error: The exception.

    Returns:
        The failure.

    Examples:
        >>> classify(ConnectionResetError("peer went away")).retryable
        True
        >>> classify(ValueError("bad key")).retryable
        False
    """
    stated = _stated(error)
    text = _text(error, stated)
    name = type(error).__name__
    # hidden before the cut: the half of a key cannot be found
    reason = f"{name}: {redacted(text)[:300]}" if text else name
    retry_after = _retry_after(error)
    own = _classify_own(error)
    # a member may know its window itself, before it asks
    if own is not None and not (own is Status.UNSUPPORTED and _TOO_LONG.search(text)):
        return Failure(own, isinstance(error, MemberError) and error.may_pass, retry_after, reason)
    if foreign_loop(error) is not None:
        return Failure(Status.ERROR, False, None, _FOREIGN_LOOP)
    said = _provider_code(error, stated)
    names = " ".join([*(cls.__name__.lower() for cls in type(error).__mro__), said.replace("_", "")])
    code = http_status(error)
    if _has(names, _REFUSAL_WORDS) or "flagged_input" in _metadata(stated):
        return Failure(Status.REFUSED, False, None, reason)
    # llama.cpp's rerankers say it with 500
    if code in (None, 400, 413, 422, 500) and _TOO_LONG.search(f"{names} {said} {text}"):
        return Failure(Status.TOO_LONG, False, None, _too_long(text))
    if code == 429 or _has(names, _RATE_WORDS):
        # an exhausted quota does not come back within a call
        return Failure(Status.RATE_LIMITED, "insufficient_quota" not in said, retry_after, reason)
    if code is not None:
        status = Status.TIMEOUT if code in (408, 504) else Status.ERROR
        return Failure(status, code in _RETRYABLE_STATUS, retry_after, reason)
    if isinstance(error, TimeoutError) or _has(names, _TIMEOUT_WORDS):
        return Failure(Status.TIMEOUT, True, retry_after, reason)
    if _has(names, _NEVER_WORDS):
        return Failure(Status.ERROR, False, None, reason)
    passing = isinstance(error, ConnectionError) or _has(names, _PASSING_WORDS)
    return Failure(Status.ERROR, passing, retry_after, reason)


def _classify_own(error: BaseException) -> Status | None:
    if isinstance(error, asyncio.CancelledError):
        return Status.CANCELLED
    if isinstance(error, MemberError):
        return next((status for kind, status in _OWN.items() if isinstance(error, kind)), Status.ERROR)
    return None


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def _stated(error: BaseException) -> Mapping[str, Any]:
    """Return the error object of the provider's reply; empty if the exception holds none."""
    for held in (getattr(error, "body", None), *error.args[:1], _reply_without_choices(error)):
        if isinstance(held, Mapping):
            inner = held.get("error")
            return inner if isinstance(inner, Mapping) else held
    return {}


def _reply_without_choices(error: BaseException) -> Any:
    """Return the error object of a reply that a client took for an answer.

    LlamaIndex's OpenAI LLMs read ``response.choices[0]`` of any reply with HTTP status 200. If that is an error, only
    the frame of the failed line still holds it.
    """
    trace = error.__traceback__ if isinstance(error, TypeError) else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    reply = None if trace is None else trace.tb_frame.f_locals.get("response")
    return None if reply is None or getattr(reply, "choices", None) else getattr(reply, "error", None)


def _metadata(stated: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = stated.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _text(error: BaseException, stated: Mapping[str, Any]) -> str:
    """Return the provider's words in one line, at most 2,000 characters."""
    try:
        # the text of an exception around an error object is Python's form of the object, or says nothing of it
        around = isinstance(error, TypeError) or (bool(error.args) and isinstance(error.args[0], Mapping))
        text = str(stated["message"]) if around and stated.get("message") else str(error)
        # a gateway passes on what the server behind it said
        metadata = _metadata(stated)
        behind = ": ".join(str(metadata[key]) for key in ("provider_name", "raw") if metadata.get(key))
        if behind and behind not in text:
            text = f"{text} ({behind})"
        return " ".join(text[:2000].split())
    except Exception as broken:
        return f"(its message cannot be read: {type(broken).__name__})"


def _too_long(text: str) -> str:
    """Say how many tokens were asked of which window, as far as the error says it."""
    found = next(filter(None, (pattern.search(text) for pattern in _WINDOWS)), None)
    if found is None:
        return "prompt and answer do not fit its window"
    window = _number(found[1])
    asked = max(map(_number, re.findall(r"\d[\d,]*", text)))
    need = f"{asked:,} tokens" if asked > window else "prompt and answer"
    return f"{need} do not fit its window of {window:,}"


def _number(digits: str) -> int:
    return int(digits.replace(",", "") or 0)


def http_status(error: BaseException) -> int | None:
    """Read the HTTP status of a member's exception.

    Args:
        error: The exception.

    Returns:
        The status, also that of its response or of the error object in its reply; ``None`` if it has none.
    """
    attributes = ("status_code", "status", "code", "http_status")
    values = [
        getattr(holder, name, None) for holder in (error, getattr(error, "response", None)) for name in attributes
    ]
    stated = _stated(error)
    for value in (*values, stated.get("code"), stated.get("status")):
        code = int(value) if isinstance(value, str) and re.fullmatch("[1-5][0-9][0-9]", value) else value
        if isinstance(code, int) and 100 <= code <= 599:
            return code
    return None


def _provider_code(error: BaseException, stated: Mapping[str, Any]) -> str:
    parts = (getattr(error, "code", ""), getattr(error, "type", ""), stated.get("code"), stated.get("type"))
    return " ".join(str(part) for part in parts if part).lower()


def _retry_after(error: BaseException) -> float | None:
    value: Any = getattr(error, "retry_after", None)
    headers = getattr(getattr(error, "response", None), "headers", None)
    if value is None and headers is not None:
        milliseconds = headers.get("retry-after-ms")
        if milliseconds is not None:
            seconds = _seconds(milliseconds)
            return None if seconds is None else seconds / 1000
        value = headers.get("retry-after") or headers.get("Retry-After")
    return None if value is None else _seconds(value)


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isfinite(seconds):
        return max(0.0, seconds)
    try:
        moment = email.utils.parsedate_tz(str(value))
        # an HTTP date is wall-clock time, so it is compared with that clock
        return None if moment is None else max(0.0, email.utils.mktime_tz(moment) - time.time())
    except (ValueError, OverflowError):
        # an impossible date is ignored
        return None

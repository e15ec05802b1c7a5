"""Classify a provider's exception: the kind of failure, and whether a retry can help.

Providers' packages are not imported. Their exceptions share these features: an HTTP status, also of the response, a
Retry-After header, the names of the exception's classes, and Python's built-in exception types.
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
    EmptyAnswerError,
    MemberError,
    MemberTimeoutError,
    RateLimitedError,
    RefusedError,
    UnsupportedError,
)
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
_PASSING_WORDS = ("connect", "overloaded", "unavailable", "internalserver", "remoteprotocol", "badgateway")
# how servers and clients say that prompt and answer do not fit the model's window
_TOO_LONG = re.compile(
    r"exceed_context_size|context_?length_?exceeded|context_?window_?exceeded|contextoverflow"
    r"|maximum context length|available context size|exceed context limit|fit into the model \(context length"
    r"|(?:prompt|input) is too long|input token count.{0,40}exceeds",
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
    )
)
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
    text = _text(error)
    name = type(error).__name__
    reason = f"{name}: {text[:300]}" if text else name
    retry_after = _retry_after(error)
    own = _classify_own(error)
    if own is not None:
        return Failure(own[0], own[1], retry_after, reason)
    names = " ".join(cls.__name__.lower() for cls in type(error).__mro__)
    code = http_status(error)
    if _has(names, _REFUSAL_WORDS) or "content_filter" in _provider_code(error):
        return Failure(Status.REFUSED, False, None, reason)
    if code in (None, 400, 413, 422) and _TOO_LONG.search(f"{names} {_provider_code(error)} {text}"):
        return Failure(Status.TOO_LONG, False, None, _too_long(text))
    if code == 429 or _has(names, _RATE_WORDS):
        # an exhausted quota does not come back within a call
        return Failure(Status.RATE_LIMITED, "insufficient_quota" not in _provider_code(error), retry_after, reason)
    if code is not None:
        status = Status.TIMEOUT if code in (408, 504) else Status.ERROR
        return Failure(status, code in _RETRYABLE_STATUS, retry_after, reason)
    if isinstance(error, TimeoutError) or _has(names, _TIMEOUT_WORDS):
        return Failure(Status.TIMEOUT, True, retry_after, reason)
    if _has(names, _NEVER_WORDS):
        return Failure(Status.ERROR, False, None, reason)
    passing = isinstance(error, ConnectionError) or _has(names, _PASSING_WORDS)
    return Failure(Status.ERROR, passing, retry_after, reason)


def _classify_own(error: BaseException) -> tuple[Status, bool] | None:
    if isinstance(error, asyncio.CancelledError):
        return Status.CANCELLED, False
    if isinstance(error, RateLimitedError):
        return Status.RATE_LIMITED, True
    if isinstance(error, RefusedError):
        return Status.REFUSED, False
    if isinstance(error, MemberTimeoutError):
        return Status.TIMEOUT, True
    if isinstance(error, UnsupportedError):
        return Status.UNSUPPORTED, False
    if isinstance(error, EmptyAnswerError | MemberError):
        return Status.ERROR, False
    return None


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def _text(error: BaseException) -> str:
    """Return the message in one line, at most 2,000 characters."""
    try:
        return " ".join(str(error)[:2000].split())
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
        The status, also that of its response; ``None`` if it has none.
    """
    for holder in (error, getattr(error, "response", None)):
        for attribute in ("status_code", "status", "code", "http_status"):
            value = getattr(holder, attribute, None)
            if isinstance(value, int) and 100 <= value <= 599:
                return value
    return None


def _provider_code(error: BaseException) -> str:
    parts: list[Any] = [getattr(error, "code", ""), getattr(error, "type", "")]
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        parts += [body.get("code"), body.get("type")]
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

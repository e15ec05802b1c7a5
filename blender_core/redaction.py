"""Hide secrets in texts that are shown: keys, headers and passwords that a provider's error quotes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

__all__ = ["HIDDEN", "redacted", "remember_secrets", "told", "without_secrets"]

HIDDEN = "[hidden]"
"""Stands for a secret."""

_NAME = r"(?:proxy[-_])?authorization|(?:set-)?cookie|[\w-]{0,40}(?:api[-_ ]?key|(?:auth|access)[-_]?(?:key|token))"
_NAME += r"|x-[\w-]{0,40}(?:auth|token|key)|(?:refresh|id|session|bearer|hf|hub)[-_]token|client[-_]secret|password"
# a value in quotes or behind "=" is one, else a word of a sentence may follow
_IS = (
    r"(?: provided)?[\"']?\s{0,3}(?:=\s{0,3}[\"']?|:\s{0,3}[\"']|:\s{0,3}(?=(?:bearer |basic )?(?:\S{0,99}\d|\S{12})))"
)
# the end of a sentence is no part of it
_VALUE = r"(?!\[hidden|none\b|null\b|true\b|false\b)[^\s\"',;&}\])]{3,}[^\s\"',;&}\]).:!?]"
# quantifiers are bounded, so that a long text takes linear time
_PATTERNS = (
    # user and password in a URL
    (re.compile(r"(://[^\s/@:]{0,200}:)(?!\[hidden)[^\s/@]{1,500}(?=@)"), r"\1" + HIDDEN),
    # a query parameter such as ?key= or &access_token=
    (
        re.compile(
            r"([?&;](?:[\w.-]{0,40}(?:key|token|secret|password|signature|credential)|sig|auth|code)=)(?!\[hidden)[^\s&#\"'<>]{4,}",
            re.IGNORECASE,
        ),
        r"\1" + HIDDEN,
    ),
    # a header, or a setting, with its value
    (
        re.compile(
            rf"\b({_NAME})({_IS})(?:(?:bearer|basic|token|apikey) )?{_VALUE}",
            re.IGNORECASE,
        ),
        r"\1\2" + HIDDEN,
    ),
    (re.compile(r"\b(bearer|basic) (?=\S{0,200}\d)[\w.~+/=*-]{8,}", re.IGNORECASE), r"\1 " + HIDDEN),
    # forms of known providers
    (re.compile(r"\b(?:sk|pk|rk)[-_](?=\S{0,200}[\d*])[\w*-]{8,}"), HIDDEN),
    (
        re.compile(
            r"\b(?:gsk_|hf_|r8_|xai-|pplx-|nvapi-|tvly-|lsv2_|gh[opsu]_|github_pat_|glpat-|AIza|AKIA|ya29\.|key-)"
            r"(?=\S{0,200}\d)[\w*-]{12,}"
        ),
        HIDDEN,
    ),
    (re.compile(r"\beyJ[\w-]{10,}\.[\w-]{5,}(?:\.[\w-]+)?"), HIDDEN),
)
_SECRET_NAME = re.compile(
    r"api_?key|^_?key$|(?:^|auth|access|api|hf|hub|bearer|refresh)[-_]?token$|secret|password|credential|authorization|cookie",
    re.IGNORECASE,
)
_HEADERS = re.compile(r"headers$", re.IGNORECASE)
_PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "content-type", "user-agent"})
# where members, LLMs of frameworks, rankers and fusers keep settings, and LLMs inside them
_INSIDE = re.compile(
    r"_?(?:llms?|members?|runnable|bound|kwargs|config|configurable|fallbacks|steps|first|middle|last|default|client_options"
    r"|request_options|model_kwargs|additional_kwargs|default_config|generate_kwargs|default_query|extra_query)"
)
_DEEPEST = 8
# shorter ones, and words such as "not-needed", may be part of any sentence
_SHORTEST, _SURELY_SECRET = 8, 16


_lock = threading.Lock()
_known: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()


def remember_secrets(*owners: Any) -> None:
    """Note the keys and header values that objects hold, so that ``redacted`` hides them.

    Args:
        *owners: Members, rankers or fusers. What an object holds is forgotten with it.
    """
    for owner in owners:
        found = frozenset(form for secret in _secrets_in(owner) for form in _forms(secret))
        if found:
            with _lock:
                try:
                    _known[owner] = found
                except TypeError:
                    # it cannot be a weak key; the forms of known keys are still hidden
                    continue


def redacted(text: str) -> str:
    """Hide the secrets in a text.

    Hidden are: keys and header values that a live member holds; passwords and keys in URLs; values of headers and
    settings such as ``Authorization`` and ``api_key``; keys in the form of known providers.

    Args:
        text: An error's text.

    Returns:
        The text, each secret replaced by ``[hidden]``.

    Examples:
        >>> redacted("401 for https://api.example.com/v1?key=AbC123dEf (Bearer 0xCAFE1234)")
        '401 for https://api.example.com/v1?key=[hidden] (Bearer [hidden])'
        >>> redacted("max_tokens=4096 is too large")
        'max_tokens=4096 is too large'
    """
    with _lock:
        known = frozenset().union(*_known.values())
    # a key may begin with another one
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def told(error: BaseException) -> str:
    """Tell an error in words: its type and its message, without secrets.

    Args:
        error: The error; its message may be one that cannot be read.

    Returns:
        The text.

    Examples:
        >>> told(ValueError("refused: api_key=AbC123dEf456"))
        'ValueError: refused: api_key=[hidden]'
    """
    try:
        text = str(error)
    except Exception as broken:
        text = f"(its message cannot be read: {type(broken).__name__})"
    return f"{type(error).__name__}: {redacted(text)}" if text else type(error).__name__


def without_secrets(data: Any) -> Any:
    """Copy JSON-like data without the values of keys and headers.

    Args:
        data: Mappings, lists and values.

    Returns:
        The copy; values under names such as ``api_key``, and of all headers, are ``[hidden]``.

    Examples:
        >>> without_secrets({"model": "m", "extra_headers": {"X-Team": "7"}, "api_key": "abc"})
        {'model': 'm', 'extra_headers': {'X-Team': '[hidden]'}, 'api_key': '[hidden]'}
    """
    if isinstance(data, Mapping):
        return {name: _without(str(name), value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(map(without_secrets, data)) if type(data) in (list, tuple) else data
    return data


def _without(name: str, value: Any) -> Any:
    if _HEADERS.search(name) and isinstance(value, Mapping):
        return dict.fromkeys(value, HIDDEN)
    if _SECRET_NAME.search(name) and isinstance(value, str):
        return HIDDEN
    return without_secrets(value)


def _secrets_in(owner: Any) -> Iterator[str]:
    waiting: list[tuple[str, Any, int]] = [("", owner, 0)]
    seen: set[int] = set()
    while waiting:
        name, held, depth = waiting.pop()
        stated = held if isinstance(held, str) else _stated(held)
        if stated is not None:
            if _SECRET_NAME.search(name) or not isinstance(held, str):
                yield stated
        elif isinstance(held, Mapping) and _HEADERS.search(name):
            yield from (str(value) for key, value in held.items() if str(key).lower() not in _PLAIN_HEADERS)
        elif depth < _DEEPEST and id(held) not in seen:
            seen.add(id(held))
            waiting += [(each, value, depth + 1) for each, value in _parts(name, held)]


def _stated(held: Any) -> str | None:
    """Read a ``SecretStr`` of pydantic."""
    reveal = getattr(type(held), "get_secret_value", None)
    value = None if reveal is None else reveal(held)
    return value if isinstance(value, str) else None


def _parts(name: str, held: Any) -> Iterator[tuple[str, Any]]:
    """The parts of an object that may hold secrets, or LLMs that do."""
    if isinstance(held, list | tuple):
        yield from ((name, one) for one in held)
        return
    # attributes only: a property could do anything
    values = held if isinstance(held, Mapping) else getattr(held, "__dict__", {})
    for each, value in list(values.items()):
        if _INSIDE.fullmatch(str(each)) or _holds_secret(str(each)) or _stated(value) is not None:
            yield str(each), value


def _holds_secret(name: str) -> bool:
    return bool(_HEADERS.search(name) or _SECRET_NAME.search(name))


def _forms(secret: str) -> Iterator[str]:
    """The forms in which an error may quote a secret; nothing for a word that is none."""
    scheme, _, credential = secret.rpartition(" ")
    secret = credential if scheme.lower() in ("bearer", "basic", "token") else secret
    if len(secret) >= _SURELY_SECRET or (len(secret) >= _SHORTEST and any(map(str.isdigit, secret))):
        yield secret
        if quote(secret, safe="") != secret:
            yield quote(secret, safe="")

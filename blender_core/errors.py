"""Define every error that the library raises itself.

```
BlendError
├── ConfigurationError (ValueError)    an argument or a setting that cannot work
├── MissingExtraError (ImportError)    an optional dependency is not installed
├── CheckpointError                    a checkpoint cannot be loaded
├── DownloadError                      a model file cannot be downloaded, or its hash differs
├── MemberError                        a member gave no usable answer
│   ├── EmptyAnswerError               it answered with nothing
│   ├── RefusedError                   it refused, or a content filter removed the answer
│   ├── RateLimitedError               it was over its quota; may carry retry_after
│   ├── UnsupportedError               it lacks a capability that the call needs, such as tools
│   └── MemberTimeoutError             it did not answer in time
├── QuorumError                        fewer answers than the quorum; names every member's cause
├── RankerError                        a ranker gave no usable ranking
└── FusionError                        a fuser gave no usable text
```

A message states the cause, the values, and the remedy. It holds no key, header or password.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from blender_core.redaction import redacted

__all__ = [
    "BlendError",
    "CheckpointError",
    "ConfigurationError",
    "DownloadError",
    "EmptyAnswerError",
    "FusionError",
    "MemberError",
    "MemberTimeoutError",
    "MissingExtraError",
    "QuorumError",
    "RankerError",
    "RateLimitedError",
    "RefusedError",
    "UnsupportedError",
]


class BlendError(Exception):
    """Base class of every error that the library raises itself; its message holds no secret.

    Args:
        *args: The message. Keys and headers that it quotes are hidden.
        **named: For the other base class of an error.

    Examples:
        >>> str(MemberError("401: Incorrect API key provided: sk-1234567890"))
        '401: Incorrect API key provided: [hidden]'
    """

    def __init__(self, *args: object, **named: Any) -> None:
        super().__init__(*(redacted(one) if isinstance(one, str) else one for one in args), **named)


class ConfigurationError(BlendError, ValueError):
    """Raised if an argument or a setting is invalid; gives the value and the remedy."""


class MissingExtraError(BlendError, ImportError):
    """Raised if an optional dependency is not installed.

    Args:
        feature: The feature that needs it, for example ``"PairRanker.from_pretrained"``.
        module: The module that could not be imported.
        extra: The extra of ``blended-llm`` that brings it.
    """

    def __init__(self, feature: str, module: str, extra: str) -> None:
        super().__init__(
            f'{feature} needs {module!r}, which is not installed: pip install "blended-llm[{extra}]"',
            name=module,
        )
        self.feature = feature
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        return type(self), (self.feature, str(self.name), self.extra)


class CheckpointError(BlendError):
    """Raised if a checkpoint cannot be loaded."""


class DownloadError(BlendError):
    """Raised if a model file cannot be downloaded, or its hash is not the catalogue's.

    Args:
        message: What failed, and the remedy.
        may_pass: Whether trying again may help. It may if the network failed; a wrong name stays wrong.
    """

    def __init__(self, message: str, *, may_pass: bool = True) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class MemberError(BlendError):
    """Raised if a member gives no usable answer.

    Attributes:
        may_pass: Whether asking again may help.
    """

    may_pass = False


class EmptyAnswerError(MemberError):
    """Raised if a member's answer has no text and no tool call."""


class RefusedError(MemberError):
    """Raised if a member refuses, or a content filter removes its answer."""


class RateLimitedError(MemberError):
    """Raised if a member is over its quota.

    Args:
        message: The member's message.
        retry_after: Seconds the member asked us to wait, if it said so.
    """

    may_pass = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnsupportedError(MemberError):
    """Raised if a member lacks a capability that the call needs, such as tools."""


class MemberTimeoutError(MemberError):
    """Raised if a member does not answer in time."""

    may_pass = True


class _Outcome(Protocol):
    # the part of MemberOutcome that QuorumError reads; this module must not import that class
    @property
    def member(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def status(self) -> Any: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def error(self) -> BaseException | None: ...
    @property
    def http_status(self) -> int | None: ...
    @property
    def retry_after(self) -> float | None: ...


class QuorumError(BlendError):
    """Raised if fewer members answer than the quorum requires.

    Args:
        needed: The quorum.
        outcomes: One ``MemberOutcome`` for every member.

    Attributes:
        retry_after: Seconds after which enough members may answer, if their providers said so; else ``None``.
    """

    def __init__(self, needed: int, outcomes: Sequence[_Outcome]) -> None:
        answered = sum(outcome.ok for outcome in outcomes)
        causes = "; ".join(
            f"{outcome.member}: {outcome.status.value}" + (f" ({outcome.reason})" if outcome.reason else "")
            for outcome in outcomes
            if not outcome.ok
        )
        super().__init__(
            f"{answered} of {len(outcomes)} members answered, the quorum is {needed}. {causes}. {_remedy(outcomes)}"
        )
        self.needed = needed
        self.outcomes = tuple(outcomes)
        waits = sorted(outcome.retry_after for outcome in outcomes if outcome.retry_after is not None)
        missing = needed - answered
        self.retry_after = waits[missing - 1] if 0 < missing <= len(waits) else None
        first_error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
        self.__cause__ = first_error

    def __reduce__(self) -> tuple[type[QuorumError], tuple[int, tuple[_Outcome, ...]]]:
        return type(self), (self.needed, self.outcomes)


_REMEDIES: dict[str | int, str] = {
    401: "Give these members a valid API key.",
    403: "Use a key that may call these models.",
    404: "Mend the model's name or the server's URL.",
    "rate_limited": "Wait, raise max_retries, or add a member of another provider.",
    "refused": "They refused: change the prompt, or add a member that answers it.",
    "timeout": "Raise the timeout.",
    "skipped": "The breaker will ask them again after their rest.",
    "too_long": "Shorten the prompt or the answer, or add a member with a larger window.",
}
_OTHER_REMEDY = "Mend these members, or lower the quorum."


def _remedy(outcomes: Sequence[_Outcome]) -> str:
    """One sentence for each kind of failure."""
    failed = [outcome for outcome in outcomes if not outcome.ok]
    kinds = [outcome.http_status if outcome.http_status in _REMEDIES else outcome.status.value for outcome in failed]
    return " ".join(dict.fromkeys(_REMEDIES.get(kind, _OTHER_REMEDY) for kind in kinds))


class RankerError(BlendError):
    """Raised if a ranker gives no usable ranking."""


class FusionError(BlendError):
    """Raised if a fuser gives no usable text."""

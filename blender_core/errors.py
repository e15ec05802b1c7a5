"""Every error the library raises on its own account.

```
BlendError
├── ConfigurationError (ValueError)    an argument or a setting that cannot work
├── MissingExtraError (ImportError)    an optional dependency is not installed
├── CheckpointError                    a checkpoint cannot be read as what it claims to be
├── DownloadError                      a model file cannot be had, or its hash differs
├── MemberError                        one member LLM gave no usable answer
│   ├── EmptyAnswerError               it answered with nothing
│   ├── RefusedError                   it refused, or a content filter removed the answer
│   ├── RateLimitedError               it was over its quota; may carry retry_after
│   ├── UnsupportedError                    it cannot do what the call asks for, such as calling tools
│   └── MemberTimeoutError             it did not answer in time
├── QuorumError                        fewer answers than the quorum; names every member's cause
├── RankerError                        a ranker gave no usable ranking
└── FusionError                        a fuser gave no usable text
```

A message says what happened, the values, and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

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
    """Base class of every error the library raises on its own account."""


class ConfigurationError(BlendError, ValueError):
    """An argument or a setting cannot work; the message gives the value and the remedy."""


class MissingExtraError(BlendError, ImportError):
    """An optional dependency is not installed.

    Args:
        feature: What was asked for, for example ``"PairRanker.from_pretrained"``.
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
    """A checkpoint cannot be read as what it claims to be."""


class DownloadError(BlendError):
    """A model file cannot be had, or its hash differs from the catalogue's."""


class MemberError(BlendError):
    """One member LLM gave no usable answer."""


class EmptyAnswerError(MemberError):
    """A member answered with no text and no tool call."""


class RefusedError(MemberError):
    """A member refused, or a content filter removed its answer."""


class RateLimitedError(MemberError):
    """A member was over its quota.

    Args:
        message: What the member said.
        retry_after: Seconds the member asked us to wait, if it said so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnsupportedError(MemberError):
    """A member cannot do what the call asks for, such as calling tools; it takes no part."""


class MemberTimeoutError(MemberError):
    """A member did not answer in time."""


class _Outcome(Protocol):
    # what QuorumError reads of a MemberOutcome; this room is below all others and cannot name the class
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


class QuorumError(BlendError):
    """Fewer members answered than the quorum asks for.

    Args:
        needed: The quorum.
        outcomes: One ``MemberOutcome`` for every member.
    """

    def __init__(self, needed: int, outcomes: Sequence[_Outcome]) -> None:
        answered = sum(outcome.ok for outcome in outcomes)
        causes = "; ".join(
            f"{outcome.member}: {outcome.status.value}" + (f" ({outcome.reason})" if outcome.reason else "")
            for outcome in outcomes
            if not outcome.ok
        )
        super().__init__(
            f"{answered} of {len(outcomes)} members answered, the quorum is {needed}. "
            f"{causes}. Lower the quorum, raise the timeout, or mend these members."
        )
        self.needed = needed
        self.outcomes = tuple(outcomes)
        first_error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
        self.__cause__ = first_error

    def __reduce__(self) -> tuple[type[QuorumError], tuple[int, tuple[_Outcome, ...]]]:
        return type(self), (self.needed, self.outcomes)


class RankerError(BlendError):
    """A ranker gave no usable ranking."""


class FusionError(BlendError):
    """A fuser gave no usable text."""

"""Record how each member ended, in exactly one outcome per member."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from blender_core.errors import MemberError
from blender_core.types.answer import Answer, Usage

__all__ = ["MemberOutcome", "Status"]


class Status(StrEnum):
    """Names how a member ended.

    ``too_long``: prompt and answer do not fit its window. ``skipped``: the circuit breaker says that it is down, so it
    was not asked; this is no failure of the call.
    """

    OK = "ok"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    ERROR = "error"
    CANCELLED = "cancelled"
    UNSUPPORTED = "unsupported"
    TOO_LONG = "too_long"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class MemberOutcome:
    """Records how one member ended in one call.

    Attributes:
        member: The member's name.
        index: The member's position in the ensemble, from 0.
        status: How it ended.
        answer: The answer; set exactly when the status is ``ok``.
        reason: The reason of a failure; ``None`` without one.
        error: The exception, if there was one; as the provider raised it, so it may quote a key.
        attempts: Calls made, retries included; 0 if it was never started.
        latency_s: Seconds from its start to its end, on a monotonic clock; 0.0 if it was never started.
        usage: Tokens used, ``None`` if unknown (a cancelled call may still have cost something).
        cost: Cost in the price's currency, ``None`` if unknown.
        http_status: The HTTP status of a failure, ``None`` without one.
        retry_after: Seconds that the provider asked to wait, ``None`` if it did not.
        instead_of: Name of the member whose place this reserve took; ``None`` if it is no reserve.

    Examples:
        >>> MemberOutcome("a", 0, Status.TIMEOUT, reason="no answer within 2 s").ok
        False
    """

    member: str
    index: int
    status: Status
    answer: Answer | None = None
    reason: str | None = None
    error: BaseException | None = field(default=None, compare=False, repr=False)
    attempts: int = 0
    latency_s: float = 0.0
    usage: Usage | None = None
    cost: float | None = None
    http_status: int | None = None
    retry_after: float | None = None
    instead_of: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return self.status is Status.OK

    def __reduce__(self) -> tuple[type[MemberOutcome], tuple[Any, ...]]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if not _travels(self.error):
            values["error"] = MemberError(self.reason or type(self.error).__name__)
        return type(self), tuple(values.values())


def _travels(error: BaseException | None) -> bool:
    """Check that an error can be pickled and read again; many providers' errors cannot."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False

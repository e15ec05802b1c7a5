"""Remember which members are down, so that calls do not wait for them.

Packages for this (pybreaker, purgatory, circuitbreaker, aiobreaker) read the clock themselves, so a test has to wait.
They count exceptions of a wrapped function. Here a failure is an outcome: a timeout is no exception of the member.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from blender_core.members.classify import classify
from blender_core.runtime.numbers import check_number
from blender_core.types.outcome import MemberOutcome, Status

__all__ = ["CircuitBreaker"]

_LONGEST_REST = 4
# the server works, but this key or this name never will
_NEVER_CODES = frozenset({401, 403, 404})


@dataclass(slots=True)
class _Health:
    rest_s: float
    failures: int = 0
    reason: str = ""
    rests_until: float | None = None
    on_trial: bool = False


class CircuitBreaker:
    """Skips members that are down, and tries them again after a rest.

    After ``failures`` calls in a row that failed, a member rests. Calls skip it, and its outcome is ``skipped``. After
    the rest one call asks it again; the others still skip it. If that call fails too, the rest doubles, up to four
    times ``rest_s``. An answer or a refusal ends it.

    Timeouts, rate limits, lost connections, the provider's 5xx errors, and wrong keys or model names count as failures.
    Errors that come from the prompt do not. A straggler that was not waited for does not either.

    A breaker never costs a call its quorum. If too few others answer, the members that rest are asked after all.

    Members are known by their names. Give several blends the same breaker, and they share what they learn. Copies of a
    blend share it too. A pickle keeps the settings only, because it is about one process.

    Args:
        failures: Calls in a row that have to fail (default 5), retries included in each.
        rest_s: Seconds of the first rest (default 30). A longer ``Retry-After`` of the provider is obeyed.
        clock: Returns seconds; default ``time.monotonic``.

    Raises:
        ConfigurationError: ``failures`` is below 1, or ``rest_s`` is no number above 0.

    Examples:
        >>> from blender_core import Blender
        >>> from blender_core.testing import FakeMember
        >>> down = FakeMember("down", ConnectionError("refused"))
        >>> blender = Blender([down, str.upper], breaker=CircuitBreaker(failures=1), max_retries=0, fuser=None)
        >>> [str(blender.blend("Hi").candidates[0].status) for _ in range(2)], down.calls
        (['error', 'skipped'], 1)
    """

    def __init__(self, failures: int = 5, rest_s: float = 30.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        check_number("failures", failures, least=1, whole=True)
        check_number("rest_s", rest_s, above=0)
        self.failures = int(failures)
        self.rest_s = float(rest_s)
        self._clock = clock
        self._lock = threading.Lock()
        self._members: dict[str, _Health] = {}

    @property
    def resting(self) -> dict[str, float]:
        """Names of the members that are skipped now, and the seconds until each is asked again."""
        with self._lock:
            left = {name: self._left(health) for name, health in self._members.items()}
        return {name: seconds for name, seconds in left.items() if seconds is not None}

    def why_not(self, member: str) -> str | None:
        """Tell why a member is skipped. After its rest the first caller is let through, and has to ask it.

        Args:
            member: Its name.

        Returns:
            The reason; ``None`` if it is asked.
        """
        with self._lock:
            health = self._members.get(member)
            if health is None or health.rests_until is None:
                return None
            left = self._left(health)
            if left is not None:
                return f"{health.reason}; not asked for another {left:.3g} s"
            # if this call never ends, another one tries after the next rest
            health.on_trial = True
            health.rests_until = self._clock() + health.rest_s
            return None

    def record(self, outcome: MemberOutcome) -> None:
        """Learn from how a member that was asked ended.

        Args:
            outcome: Its outcome.
        """
        with self._lock:
            if outcome.status in (Status.OK, Status.REFUSED):
                self._members.pop(outcome.member, None)
            elif _is_down(outcome):
                self._failed(outcome)

    def _failed(self, outcome: MemberOutcome) -> None:
        health = self._members.setdefault(outcome.member, _Health(self.rest_s))
        health.failures += 1
        if health.rests_until is not None and not health.on_trial:
            # it began before the rest
            return
        if health.on_trial:
            health.rest_s = min(2 * health.rest_s, _LONGEST_REST * self.rest_s)
        elif health.failures < self.failures:
            return
        health.on_trial = False
        health.rest_s = max(health.rest_s, min(outcome.retry_after or 0.0, _LONGEST_REST * self.rest_s))
        health.rests_until = self._clock() + health.rest_s
        calls = "1 call" if health.failures == 1 else f"{health.failures} calls in a row"
        health.reason = f"{calls} failed, the last with {outcome.status.value}: {outcome.reason}"

    def _left(self, health: _Health) -> float | None:
        if health.rests_until is None:
            return None
        left = health.rests_until - self._clock()
        # a clock that stepped back must not make the rest longer
        return left if 0 < left <= health.rest_s else None

    def __copy__(self) -> CircuitBreaker:
        return self

    def __deepcopy__(self, _memo: object) -> CircuitBreaker:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.failures, self.rest_s, self._clock)

    def __repr__(self) -> str:
        return f"CircuitBreaker(failures={self.failures}, rest_s={self.rest_s:g})"


def _made(failures: int, rest_s: float, clock: Callable[[], float]) -> CircuitBreaker:
    return CircuitBreaker(failures, rest_s, clock=clock)


def _is_down(outcome: MemberOutcome) -> bool:
    """Whether an outcome says something of the member, not of the prompt."""
    if outcome.status in (Status.TIMEOUT, Status.RATE_LIMITED):
        return True
    if outcome.status is not Status.ERROR or outcome.error is None:
        return False
    return outcome.http_status in _NEVER_CODES or classify(outcome.error).retryable

"""Decide which members of a call are asked: those of the ensemble, those in reserve, those that rest.

A member of the ensemble is asked at once, unless the circuit breaker says that it is down. A reserve is asked in the
place of a member that is skipped or gave no usable answer. Members that rest are asked last, and only if the quorum
cannot be met without them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from blender_core.gather.breaker import CircuitBreaker
from blender_core.gather.call import MemberCall
from blender_core.types.outcome import MemberOutcome, Status

__all__ = ["Lineup"]


class Lineup:
    """Holds who is still to be asked in one call.

    Args:
        calls: One call for each member, reserves last.
        reserves: How many of them are reserves.
        breaker: Says who is down; ``None`` skips nobody.
    """

    def __init__(self, calls: Sequence[MemberCall], reserves: int, breaker: CircuitBreaker | None) -> None:
        places = len(calls) - reserves
        self._due = deque(calls[:places])
        self._reserves = deque(calls[places:])
        self._resting: deque[MemberCall] = deque()
        self._breaker = breaker
        # index of a reserve -> name of the member whose place it takes
        self._places: dict[int, str] = {}

    def next(self, missing: int) -> tuple[list[MemberCall], list[MemberOutcome]]:
        """Choose who is asked now.

        Args:
            missing: Answers that the quorum lacks, if all that are being asked answer.

        Returns:
            The calls to start, and the outcomes of the members that are skipped.
        """
        calls: list[MemberCall] = []
        skipped: list[MemberOutcome] = []
        while self._due:
            call = self._due.popleft()
            reason = None if self._breaker is None else self._breaker.why_not(call.name)
            if reason is None:
                calls.append(call)
                continue
            skipped.append(self._placed(call, call.ended(Status.SKIPPED, reason)))
            self._resting.append(call)
            self.fill_place_of(call)
        while missing > len(calls) and self._resting:
            calls.append(self._resting.popleft())
        asked = {call.index for call in calls}
        return calls, [outcome for outcome in skipped if outcome.index not in asked]

    def ended(self, call: MemberCall, outcome: MemberOutcome, *, in_grace: bool) -> MemberOutcome:
        """Tell the breaker how a call ended.

        Args:
            call: The call.
            outcome: How it ended.
            in_grace: Whether enough others had answered. Being late then says nothing of the member.

        Returns:
            The outcome; that of a reserve says whose place it took.
        """
        if self._breaker is not None and not (in_grace and outcome.status is Status.TIMEOUT):
            self._breaker.record(outcome)
        return self._placed(call, outcome)

    def fill_place_of(self, call: MemberCall) -> None:
        """Let the next reserve take the place of a member without a usable answer.

        Args:
            call: The call of that member.
        """
        if self._reserves:
            reserve = self._reserves.popleft()
            self._places[reserve.index] = self._places.get(call.index, call.name)
            self._due.append(reserve)

    def _placed(self, call: MemberCall, outcome: MemberOutcome) -> MemberOutcome:
        place = self._places.get(call.index)
        return outcome if place is None else replace(outcome, instead_of=place)

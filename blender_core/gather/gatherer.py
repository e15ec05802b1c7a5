"""Ask all members at once, and collect one outcome each within the time limits.

A member's task always ends in an outcome. Its timeout, the stragglers' grace, the limit of the stage or a cancelled
caller can end it early. An answer that arrives during a cancellation is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from blender_core.errors import MemberTimeoutError, UnsupportedError
from blender_core.events import MemberAnswered, MemberFailed
from blender_core.gather.breaker import CircuitBreaker
from blender_core.gather.call import CallRuntime, MemberCall
from blender_core.gather.lineup import Lineup
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.spending import Spending
from blender_core.members.member import Member
from blender_core.runtime.program_end import ProgramEnd, carrying
from blender_core.runtime.semaphore import SharedSemaphore
from blender_core.runtime.threads import drain
from blender_core.types.outcome import MemberOutcome, Status
from blender_core.types.prompt import Prompt

__all__ = ["gather", "quorum_of"]

# turns of the event loop in which a finished answer can still arrive
_LAST_TURNS = 3


async def gather(
    members: Sequence[tuple[str, Member]],
    prompt: Prompt,
    policy: GatherPolicy,
    *,
    semaphore: SharedSemaphore | None,
    spending: Spending,
    runtime: CallRuntime,
    soft_limit_s: float | None = None,
    hard_limit_s: float | None = None,
    check: Callable[[MemberOutcome], str | None] | None = None,
    check_blocks: bool = True,
    problems: dict[int, str] | None = None,
    blocked: dict[str, float] | None = None,
    reserves: int = 0,
    breaker: CircuitBreaker | None = None,
) -> tuple[MemberOutcome, ...]:
    """Ask all members and wait as long as the policy allows.

    Args:
        members: The ensemble, reserves last: unique name and member.
        prompt: The prompt.
        policy: Timeouts, quorum, grace, retries.
        semaphore: Limits how many members run at once; ``None`` asks all at once.
        spending: The call's spending; decides whether further calls may start.
        runtime: Clock, sleep, randomness, events.
        soft_limit_s: Seconds after which gathering ends if the quorum is met; ``None`` is no limit.
        hard_limit_s: Seconds after which gathering ends in any case; ``None`` is no limit.
        check: Says why an outcome with an answer cannot be used, or ``None``. It is called as each answer comes, within
            the member's time. One that cannot be used counts neither for the quorum nor for the stragglers' grace.
        check_blocks: Whether ``check`` may take long; it then runs in a thread.
        problems: Gets these reasons, by the member's index.
        blocked: Gets the seconds in which a member blocked the event loop, by its name.
        reserves: How many of the members are reserves.
        breaker: Says which members are down; ``None`` asks all.

    Returns:
        One outcome per member, in the ensemble's order; none of a reserve that took no place.
    """
    calls = [
        MemberCall(
            member,
            name,
            index,
            prompt,
            policy,
            spending,
            runtime,
            semaphore=semaphore,
            check=check,
            check_blocks=check_blocks,
        )
        for index, (name, member) in enumerate(members)
    ]
    run = _Gathering(calls, policy, runtime, soft_limit_s, hard_limit_s, Lineup(calls, reserves, breaker))
    outcomes = await run.outcomes()
    if problems is not None:
        problems |= {call.index: call.problem for call in calls if call.problem is not None}
    if blocked is not None:
        blocked |= {call.name: call.blocked_s for call in calls if call.blocked_s}
    return outcomes


def quorum_of(quorum: int, members: int, outcomes: Iterable[MemberOutcome]) -> int:
    """Count the answers that a call needs: members that take no part in it are not waited for.

    Args:
        quorum: The quorum of the policy.
        members: Members of the ensemble.
        outcomes: The outcomes so far.

    Returns:
        The quorum out of the members that take part, at least 1.
    """
    unable = sum(isinstance(outcome.error, UnsupportedError) for outcome in outcomes)
    return max(1, min(quorum, members - unable))


class _Gathering:
    """Holds the state of one ``gather``."""

    def __init__(
        self,
        calls: Sequence[MemberCall],
        policy: GatherPolicy,
        runtime: CallRuntime,
        soft_limit_s: float | None,
        hard_limit_s: float | None,
        lineup: Lineup,
    ) -> None:
        self._policy = policy
        self._runtime = runtime
        self._soft_limit_s = soft_limit_s
        self._hard_limit_s = hard_limit_s
        self._began = runtime.clock()
        self._enough_at: float | None = None
        self._calls = calls
        for call in calls:
            call.stage_ends_at = None if hard_limit_s is None else self._began + hard_limit_s
        self._lineup = lineup
        self._answers = 0
        self._outcomes: dict[int, MemberOutcome] = {}

    async def outcomes(self) -> tuple[MemberOutcome, ...]:
        tasks: dict[asyncio.Task[MemberOutcome], MemberCall] = {}
        pending: set[asyncio.Task[MemberOutcome]] = set()
        try:
            while self._start(tasks, pending):
                await asyncio.wait(
                    pending, timeout=self._next_wait_s(pending, tasks), return_when=asyncio.FIRST_COMPLETED
                )
                self._collect(tasks, pending)
                if self._overdue(pending, tasks):
                    # the loop may be late, not the member
                    for _ in range(_LAST_TURNS):
                        await asyncio.sleep(0)
                    self._collect(tasks, pending)
                overdue = self._overdue(pending, tasks)
                if overdue:
                    await self._end(overdue, tasks)
                    pending -= overdue.keys()
        finally:
            # tasks are still alive here only if the caller was cancelled
            await self._give_up([task for task in tasks if not task.done()], tasks)
        return tuple(self._outcomes[call.index] for call in self._calls if call.index in self._outcomes)

    def _start(
        self, tasks: dict[asyncio.Task[MemberOutcome], MemberCall], pending: set[asyncio.Task[MemberOutcome]]
    ) -> bool:
        """Ask the members that are due; return whether any is being asked."""
        if not tasks or not self._is_over():
            calls, skipped = self._lineup.next(self._policy.quorum - self._answers - len(pending))
            for outcome in skipped:
                self._outcomes[outcome.index] = outcome
                self._runtime.emit(MemberFailed(outcome))
            started = {asyncio.create_task(carrying(call.run)): call for call in calls}
            tasks.update(started)
            pending.update(started)
        return bool(pending)

    def _is_over(self) -> bool:
        """Whether nobody else is asked: the time is over, or the budget is spent."""
        end = self._stage_end()
        late = end is not None and self._runtime.clock() >= end[0]
        return late or self._calls[0].spending.exhausted() is not None

    def _in_grace(self) -> bool:
        return self._policy.straggler_grace is not None and self._enough_at is not None

    def _collect(
        self, tasks: dict[asyncio.Task[MemberOutcome], MemberCall], pending: set[asyncio.Task[MemberOutcome]]
    ) -> None:
        for task in [task for task in pending if task.done()]:
            pending.discard(task)
            self._record(tasks[task], task, Status.CANCELLED, "cancelled")

    def _record(self, call: MemberCall, task: asyncio.Task[MemberOutcome], status: Status, reason: str) -> None:
        failure = task.exception() if task.done() and not task.cancelled() else None
        if isinstance(failure, ProgramEnd):
            raise failure
        if failure is not None:
            # no error of a member should get here; if one does, keep the cause
            outcome = call.ended(Status.ERROR, f"{type(failure).__name__} while its failure was handled", failure)
        elif task.done() and not task.cancelled():
            outcome = task.result()
        elif call.answered is not None:
            outcome = call.answered
            call.problem = f"accept was not done: {reason}"
        else:
            error = MemberTimeoutError(reason) if status is Status.TIMEOUT else None
            outcome = call.ended(status, reason, error)
        outcome = self._lineup.ended(call, outcome, in_grace=self._in_grace())
        self._outcomes[call.index] = outcome
        event = MemberAnswered if outcome.ok else MemberFailed
        self._runtime.emit(event(outcome))
        usable = outcome.ok and call.problem is None
        self._answers += usable
        if not usable:
            self._lineup.fill_place_of(call)
        if isinstance(outcome.error, UnsupportedError):
            needed = quorum_of(self._policy.quorum, len(self._calls), self._outcomes.values())
            self._policy = replace(self._policy, quorum=needed)
        if self._enough_at is None and self._answers >= self._policy.enough_answers:
            self._enough_at = self._runtime.clock()

    def _stage_end(self) -> tuple[float, str] | None:
        """Return when the stage ends for all running members, and why."""
        ends: list[tuple[float, str]] = []
        if self._hard_limit_s is not None:
            ends.append((self._began + self._hard_limit_s, f"deadline: {self._hard_limit_s:.3g} s for gathering"))
        if self._soft_limit_s is not None and self._answers >= self._policy.quorum:
            ends.append((self._began + self._soft_limit_s, f"deadline: {self._soft_limit_s:.3g} s for gathering"))
        grace = self._policy.straggler_grace
        if grace is not None and self._enough_at is not None:
            reason = f"straggler: {grace:.3g} s of grace after {self._policy.enough_answers} answers"
            ends.append((self._enough_at + grace, reason))
        return min(ends) if ends else None

    def _next_wait_s(
        self, pending: set[asyncio.Task[MemberOutcome]], tasks: dict[asyncio.Task[MemberOutcome], MemberCall]
    ) -> float | None:
        stage_end = self._stage_end()
        moments = [] if stage_end is None else [stage_end[0]]
        if self._policy.timeout is not None:
            starts = [tasks[task].started_at for task in pending]
            # a member that has not started begins now at the earliest
            moments += [self._policy.timeout + (self._runtime.clock() if s is None else s) for s in starts]
        return max(0.0, min(moments) - self._runtime.clock()) if moments else None

    def _overdue(
        self, pending: set[asyncio.Task[MemberOutcome]], tasks: dict[asyncio.Task[MemberOutcome], MemberCall]
    ) -> dict[asyncio.Task[MemberOutcome], tuple[Status, str]]:
        now = self._runtime.clock()
        overdue: dict[asyncio.Task[MemberOutcome], tuple[Status, str]] = {}
        stage_end = self._stage_end()
        for task in pending:
            started = tasks[task].started_at
            if stage_end is not None and now >= stage_end[0]:
                if started is None:
                    overdue[task] = Status.CANCELLED, f"not started: {stage_end[1]}"
                else:
                    overdue[task] = Status.TIMEOUT, stage_end[1]
            elif self._policy.timeout is not None and started is not None and now >= started + self._policy.timeout:
                overdue[task] = Status.TIMEOUT, f"no answer within {self._policy.timeout:.3g} s"
        return overdue

    async def _end(
        self,
        overdue: dict[asyncio.Task[MemberOutcome], tuple[Status, str]],
        tasks: dict[asyncio.Task[MemberOutcome], MemberCall],
    ) -> None:
        await self._give_up(overdue, tasks)
        for task, (status, reason) in overdue.items():
            self._record(tasks[task], task, status, reason)

    async def _give_up(
        self,
        running: Collection[asyncio.Task[MemberOutcome]],
        tasks: Mapping[asyncio.Task[MemberOutcome], MemberCall],
    ) -> None:
        """Cancel members; one that goes on nevertheless keeps no slot and tries nothing more."""
        for task in running:
            tasks[task].over = True
        try:
            await drain(running)
        finally:
            for task in running:
                tasks[task].free_slot()

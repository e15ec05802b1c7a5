"""Ask one member, retry transient errors, and end in exactly one outcome."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from blender_core.errors import EmptyAnswerError, MemberError, RefusedError, UnsupportedError
from blender_core.events import BlendEvent, MemberRetrying, MemberStarted
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.spending import Spending
from blender_core.members.classify import Failure, classify, http_status
from blender_core.members.member import Member
from blender_core.members.retry import after_failure
from blender_core.members.returned import checked_contents, checked_figures, cost_of
from blender_core.runtime.blocking import WatchedSteps
from blender_core.runtime.closed_loops import past_closed_loops
from blender_core.runtime.program_end import PROGRAM_ENDS, ProgramEnd
from blender_core.runtime.semaphore import SharedSemaphore, Slot
from blender_core.runtime.threads import await_in_thread, call_in_thread
from blender_core.types.answer import Answer, ended_by_error
from blender_core.types.outcome import MemberOutcome, Status
from blender_core.types.prompt import Prompt

__all__ = ["CallRuntime", "MemberCall", "ask"]

# a member that ignores its cancellation gives its slot back so much after its time
_LATE_SLOT_S = 0.1


@dataclass(frozen=True, slots=True)
class CallRuntime:
    """Holds the clock, the randomness and the event sink of one call; tests replace them.

    Attributes:
        clock: Monotonic seconds.
        sleep: Waits for a number of seconds.
        rng: Source of retry jitter.
        emit: Takes progress events.
        in_threads: Whether the caller is synchronous. Then ``generate`` of the members runs in threads, so that no
            client gets bound to a short-lived event loop.
    """

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: random.Random
    emit: Callable[[BlendEvent], None]
    in_threads: bool = False


async def ask(member: Member, prompt: Prompt, *, in_threads: bool) -> Answer:
    """Call a member, on the event loop or in a thread.

    Args:
        member: The member.
        prompt: The prompt.
        in_threads: Call it in a thread; one that has only ``agenerate`` gets an event loop there.

    Returns:
        Its answer.
    """

    async def generate() -> Answer:
        # no time passes and nothing was sent, so a further try is no retry
        return await past_closed_loops(lambda: member.agenerate(prompt))

    if not in_threads and member.has_native_async:
        return await generate()
    if member.has_native_sync:
        return await call_in_thread(member.generate, prompt)
    return await await_in_thread(generate)


async def _why_not(member: Member, prompt: Prompt) -> str | None:
    if not member.why_not_blocks(prompt):
        return member.why_not(prompt)
    return await call_in_thread(member.why_not, prompt)


@dataclass(slots=True)
class MemberCall:
    """Runs one member in one call, and holds its state.

    Attributes:
        member: The member.
        name: Its name, unique in the ensemble.
        index: Its position in the ensemble, from 0.
        prompt: The prompt.
        policy: The gather policy.
        spending: The call's spending.
        runtime: Clock, sleep, randomness, events.
        attempts: Calls made so far.
        stage_ends_at: Latest end of gathering, in seconds of the clock; ``None`` is no limit.
        semaphore: Limits how many members run at once; ``None`` is no limit.
        check: Says why an outcome with an answer cannot be used.
        check_blocks: Whether ``check`` may take long; it then runs in a thread.
        started_at: Time of its first call, in seconds of the clock.
        answered: Its outcome while the answer is checked; ``None`` before.
        problem: Why the answer cannot be used; ``None`` if it can.
        blocked_s: Longest time in which it blocked the event loop, in seconds.
        over: Whether nobody waits for it any more; then it makes no further attempt.
    """

    member: Member
    name: str
    index: int
    prompt: Prompt
    policy: GatherPolicy
    spending: Spending
    runtime: CallRuntime
    stage_ends_at: float | None = None
    semaphore: SharedSemaphore | None = None
    check: Callable[[MemberOutcome], str | None] | None = None
    check_blocks: bool = True
    attempts: int = 0
    started_at: float | None = None
    answered: MemberOutcome | None = None
    problem: str | None = None
    blocked_s: float = 0.0
    over: bool = False
    _last_failure: tuple[Failure, BaseException] | None = None
    _slot: Slot | None = None

    async def run(self) -> MemberOutcome:
        """Ask until an answer or a final failure; each attempt waits for a free slot.

        Returns:
            The outcome. Only a cancellation from outside is raised.
        """
        while True:
            if not await self._has_slot():
                return self._not_asked(f"no slot came free within {self.policy.timeout:.3g} s")
            try:
                outcome, wait = await self._turn()
            finally:
                self.free_slot()
            if outcome is not None:
                return await self._checked(outcome)
            # others may use the slot meanwhile
            await self.runtime.sleep(wait)

    def free_slot(self) -> None:
        """Give its slot to the next; also from outside, if it does not end."""
        if self._slot is not None:
            self._slot.free()

    async def _has_slot(self) -> bool:
        if self.semaphore is None:
            return True
        timeout = self.policy.timeout
        self._slot = await self.semaphore.acquire(None if timeout is None else timeout + _LATE_SLOT_S)
        return self._slot is not None

    async def _checked(self, outcome: MemberOutcome) -> MemberOutcome:
        if outcome.ok and self.check is not None:
            self.answered = outcome
            self.problem = await call_in_thread(self.check, outcome) if self.check_blocks else self.check(outcome)
        return outcome

    def ended(self, status: Status, reason: str, error: BaseException | None = None) -> MemberOutcome:
        """Make the outcome of a call that ends without an answer."""
        return MemberOutcome(
            self.name,
            self.index,
            status,
            reason=reason,
            error=error,
            attempts=self.attempts,
            latency_s=self._elapsed(),
            http_status=None if error is None else http_status(error),
            retry_after=None if error is None else classify(error).retry_after,
        )

    async def _turn(self) -> tuple[MemberOutcome | None, float]:
        """Try once; return an outcome, or the seconds until the next attempt."""
        exhausted = self.spending.exhausted()
        if exhausted is not None:
            return self._not_asked(exhausted), 0.0
        if self.started_at is None:
            self.started_at = self.runtime.clock()
            self.runtime.emit(MemberStarted(self.name, self.index))
        self.attempts += 1
        try:
            return await self._attempt(), 0.0
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # the member's own client was cancelled, not this call
            return self.ended(Status.CANCELLED, "the member's call was cancelled from inside", error), 0.0
        except (*PROGRAM_ENDS, ProgramEnd):
            raise
        except BaseException as error:
            return self._failed(error)

    def _not_asked(self, reason: str) -> MemberOutcome:
        if self._last_failure is None:
            return self.ended(Status.CANCELLED, f"not started: {reason}")
        failure, error = self._last_failure
        return self.ended(failure.status, f"{failure.reason} (no retry: {reason})", error)

    async def _attempt(self) -> MemberOutcome:
        reason = await _why_not(self.member, self.prompt)
        if reason is not None:
            raise UnsupportedError(f"{reason}, so it takes no part in this call")
        # other members may have spent the budget meanwhile
        exhausted = self.spending.exhausted()
        if exhausted is not None:
            return self._not_asked(exhausted)
        reserved = self.spending.reserve(self.member, self.prompt.text)
        left_s = self._time_left()
        prompt = replace(self.prompt, member=self.name, time_limit_s=left_s if math.isfinite(left_s) else None)
        asked = WatchedSteps(ask(self.member, prompt, in_threads=self.runtime.in_threads))
        try:
            returned = await asked
        finally:
            self.blocked_s = max(self.blocked_s, asked.blocked_s)
        answer = checked_figures(self.member, returned)
        self.spending.settle(self.member, reserved, answer)
        error: MemberError | None = None
        try:
            answer = checked_contents(answer)
            error = _unusable(answer)
        except MemberError as wrong:
            # its tokens count all the same
            error = wrong
        if error is not None and error.may_pass:
            raise error
        failure = None if error is None else classify(error)
        return MemberOutcome(
            self.name,
            self.index,
            Status.OK if failure is None else failure.status,
            answer=answer if failure is None else None,
            reason=None if failure is None else failure.reason,
            error=error,
            attempts=self.attempts,
            latency_s=self._elapsed(),
            usage=answer.usage,
            cost=cost_of(self.member, answer),
        )

    def _failed(self, error: BaseException) -> tuple[MemberOutcome | None, float]:
        """Return the final outcome of a failure, or the seconds until a retry."""
        retry = after_failure(
            error, self.policy.retry, attempts=self.attempts, left_s=self._time_left(), rng=self.runtime.rng
        )
        failure, wait = retry.failure, retry.wait_s
        if wait is None:
            return self.ended(failure.status, failure.reason, error), 0.0
        if self.over:
            return self.ended(failure.status, failure.reason, error), 0.0
        self._last_failure = failure, error
        exhausted = self.spending.exhausted()
        if exhausted is not None:
            return self._not_asked(exhausted), 0.0
        self.runtime.emit(MemberRetrying(self.name, self.index, self.attempts, wait, failure.reason))
        return None, wait

    def _time_left(self) -> float:
        timeout = math.inf if self.policy.timeout is None else self.policy.timeout - self._elapsed()
        stage = math.inf if self.stage_ends_at is None else self.stage_ends_at - self.runtime.clock()
        return max(0.0, min(timeout, stage))

    def _elapsed(self) -> float:
        return 0.0 if self.started_at is None else self.runtime.clock() - self.started_at


def _unusable(answer: Answer) -> MemberError | None:
    """Return why a checked answer cannot be used, or ``None``."""
    if ended_by_error(answer.finish_reason):
        broken = MemberError(f"the provider broke the answer off (finish reason {answer.finish_reason!r})")
        broken.may_pass = True
        return broken
    if answer.refusal is not None:
        return RefusedError(answer.refusal or "refused")
    if not answer.text.strip() and not answer.tool_calls and not answer.has_other_content:
        return EmptyAnswerError(f"an empty answer (finish reason {answer.finish_reason!r})")
    return None

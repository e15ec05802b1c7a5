"""Ask LLMs that judge inside a call: within its budget and deadline, with retries, counted, with progress."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from blender_core.errors import MemberError, MemberTimeoutError, RankerError
from blender_core.events import Judging
from blender_core.gather.call import CallRuntime, MemberCall
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.spending import Spending
from blender_core.members.member import Member
from blender_core.rank.asking import Asking, Request, Tally, run_requests
from blender_core.runtime.program_end import carrying
from blender_core.runtime.semaphore import SharedSemaphore
from blender_core.runtime.threads import drain, end_turn
from blender_core.types.answer import Answer, Usage
from blender_core.types.outcome import Status

__all__ = ["BlendAsking"]

# kept for the ranker at the end of its time, so that it can count the votes it has
_COUNTING_SHARE, _COUNTING_MOST_S = 0.1, 0.5


class BlendAsking(Asking):
    """Asks LLMs for the ranker of one call; made in the call's event loop, asked from the ranker's thread.

    Args:
        members: The ensemble: unique name and member.
        authors: The text of a candidate -> names of the members that wrote it.
        policy: Timeout and retries of each call.
        spending: The call's spending.
        runtime: Clock, sleep, randomness, events.
        semaphore: Limits how many members run at once; ``None`` is no limit.
        tally: What the calls of several stages used.
    """

    def __init__(
        self,
        members: Sequence[tuple[str, Member]],
        authors: Mapping[str, frozenset[str]],
        policy: GatherPolicy,
        spending: Spending,
        runtime: CallRuntime,
        semaphore: SharedSemaphore | None,
        tally: Tally,
    ) -> None:
        super().__init__(tally)
        self.members = dict(members)
        self.authors = authors
        self._policy = policy
        self._spending = spending
        self._runtime = runtime
        self._semaphore = semaphore
        self._loop = asyncio.get_running_loop()
        self._names = {id(member): name for name, member in members}
        self._ends_at: float | None = None
        self._closed: str | None = None
        self._running: set[asyncio.Task[Any]] = set()

    def stop_after(self, limit_s: float | None) -> None:
        """Set the time for all calls; a call that is not done then fails, and the ranker still counts the others.

        Args:
            limit_s: Seconds of the ranker from now; ``None`` is no limit.
        """
        if limit_s is not None:
            limit_s -= min(limit_s * _COUNTING_SHARE, _COUNTING_MOST_S)
        self._ends_at = None if limit_s is None else self._runtime.clock() + limit_s

    async def close(self, reason: str) -> None:
        """End running calls; a ranker that was given up can ask nothing more.

        Args:
            reason: Why, for its thread.
        """
        self._closed = reason
        running = list(self._running)
        await drain(running)
        if not all(task.done() for task in running):
            self.tally.count(None, None)

    def admit(self, ranker: str, texts: Sequence[str]) -> None:
        """Refuse what does not fit the budget in tokens; see ``Asking.admit``."""
        too_dear = self._spending.why_too_dear([(None, text) for text in texts])
        if too_dear is not None:
            raise RankerError(f"{ranker} was not asked: {too_dear}")

    def count(self, usage: Usage) -> None:
        """Count in the budget, too."""
        super().count(usage)
        # the spending belongs to the loop; if that has ended, nothing more is spent
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._spending.add, usage)

    def ask(self, ranker: str, requests: Sequence[Request], *, concurrency: int, all_needed: bool) -> list[Any]:
        """Ask on the call's event loop; see ``Asking.ask``.

        Raises:
            RankerError: The calls do not fit the budget, or the time of the ranker is over.
        """
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        end_turn()
        if here:
            # waiting here would stop the loop that has to answer
            return super().ask(ranker, requests, concurrency=concurrency, all_needed=all_needed)
        work = self._ask(ranker, requests, concurrency, all_needed)
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise RankerError(f"{ranker} was not asked: the call has ended") from error
        try:
            return future.result()
        except concurrent.futures.CancelledError as error:
            raise RankerError(f"{ranker} was stopped: {self._closed or 'the call has ended'}") from error

    async def _ask(self, ranker: str, requests: Sequence[Request], concurrency: int, all_needed: bool) -> list[Any]:
        if self._closed is not None:
            raise RankerError(f"{ranker} was not asked: {self._closed}")
        too_dear = self._spending.why_too_dear([(member, prompt.text) for member, prompt in requests])
        if too_dear is not None:
            raise RankerError(f"{ranker} was not asked: {too_dear}")
        done = 0
        self._runtime.emit(Judging(ranker, 0, len(requests)))

        async def ask_one(request: Request) -> Answer:
            nonlocal done
            problem: str | None = "not asked to the end"
            try:
                answer = await self._answer(request)
                problem = None
                return answer
            except MemberError as error:
                problem = str(error)
                raise
            finally:
                done += 1
                if self._closed is None:
                    self._runtime.emit(Judging(ranker, done, len(requests), self._name(request[0]), problem))

        task = asyncio.ensure_future(carrying(lambda: run_requests(ask_one, requests, concurrency, all_needed)))
        self._running.add(task)
        try:
            return await task
        finally:
            self._running.discard(task)

    async def _answer(self, request: Request) -> Answer:
        member, prompt = request
        name = self._name(member)
        call = MemberCall(
            member,
            name,
            0,
            prompt,
            self._policy,
            self._spending,
            replace(self._runtime, emit=_ignored),
            stage_ends_at=self._ends_at,
            semaphore=self._semaphore,
        )
        task = asyncio.ensure_future(carrying(call.run))
        limit_s = self._limit_s()
        try:
            await asyncio.wait([task], timeout=limit_s)
        finally:
            late = not task.done()
            call.over = late
            try:
                await drain([task] if late else [])
            finally:
                call.free_slot()
            if late and call.attempts:
                self.tally.count(None, None)
        if late or task.cancelled():
            raise MemberTimeoutError(f"{name} was not done" + ("" if limit_s is None else f" within {limit_s:.3g} s"))
        outcome = task.result()
        if outcome.attempts and outcome.status not in (Status.UNSUPPORTED, Status.TOO_LONG):
            self.tally.count(outcome.usage, outcome.cost, known=outcome.attempts == 1)
        if outcome.answer is None:
            raise MemberError(f"{name}: {outcome.reason}") from outcome.error
        return outcome.answer

    def _limit_s(self) -> float | None:
        left = None if self._ends_at is None else max(0.0, self._ends_at - self._runtime.clock())
        limits = [limit for limit in (left, self._policy.timeout) if limit is not None]
        return min(limits) if limits else None

    def _name(self, member: Member) -> str:
        return self._names.get(id(member), member.name)


def _ignored(_event: object) -> None:
    """Drop the events of single calls: those are of members that answer."""

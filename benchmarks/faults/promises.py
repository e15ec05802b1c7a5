"""Run one chaos schedule, and name each promise that it breaks."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import threading
import weakref
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from faults.parts import (
    AsyncMember,
    BlockingMember,
    PlannedPrior,
    PlannedRanker,
    make_accept,
    make_fuse_when,
    make_fuser,
    make_guard,
)
from faults.schedule import Act, CallPlan, Schedule
from faults.world import World, threads_left

from blender_core import Blender, Budget, GatherPolicy, MemberPrior, Message, Prompt, RetryPolicy, SharedSemaphore
from blender_core.errors import BlendError, QuorumError
from blender_core.events import (
    Finished,
    FusionRejected,
    FusionStarted,
    MemberAnswered,
    MemberFailed,
    MemberStarted,
    Ranked,
    Token,
)
from blender_core.types.result import BlendResult

__all__ = ["Report", "run_schedule"]

# a call may be this much later than its deadline, in virtual seconds
_GRACE_S = 0.05
# a cancelled call still awaits what it has to end
_CANCEL_GRACE_S = 0.2
# after the last call, everything that ends by itself has ended
_CALM_S = 500.0


@dataclass(slots=True)
class Report:
    """Says how a schedule went.

    Attributes:
        seed: The seed.
        kinds: What the schedule holds.
        broken: Promises that it broke, one line each.
        story: What happened, one line each.
        answers: Calls that gave an answer.
        errors: Calls that raised an error of the tree.
        ended: Calls that the caller ended.
        fusions: Fusions that were begun.
    """

    seed: int
    kinds: frozenset[str] = frozenset()
    broken: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    answers: int = 0
    errors: int = 0
    ended: int = 0
    fusions: int = 0


class _Tag:
    """Stands for the caller's own message; a blend that keeps it keeps the call."""


def run_schedule(schedule: Schedule) -> Report:
    """Run a schedule in virtual time.

    Args:
        schedule: The schedule.

    Returns:
        The report; ``broken`` is empty if every promise was kept.

    Examples:
        >>> run_schedule(Schedule.of(0)).broken
        []
    """
    report = Report(schedule.seed, schedule.kinds)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: report.broken.append(
        f"{args.err_msg or 'error in'} {args.object!r}: {args.exc_value!r}"
    )
    try:
        tags = _run(schedule, report)
        gc.collect()
        alive = sum(tag() is not None for tag in tags)
        if alive:
            report.broken.append(f"the blender keeps the prompts of {alive} calls")
    finally:
        sys.unraisablehook = hook
    return report


def _run(schedule: Schedule, report: Report) -> list[weakref.ref[_Tag]]:
    run = _Run(schedule, report)
    world = run.world
    with asyncio.Runner(loop_factory=lambda: world.loop) as runner:
        try:
            runner.run(run.main())
        finally:
            world.end()
    report.broken.extend(world.problems)
    for thread in threading.enumerate():
        # those of the parts end now; they must not run into the next schedule
        if thread is not threading.current_thread() and thread.name.startswith("blended-llm-call"):
            thread.join(1.0)
    return run.tags


class _Run:
    def __init__(self, schedule: Schedule, report: Report) -> None:
        self.schedule = schedule
        self.report = report
        self.world = World()
        self.tags: list[weakref.ref[_Tag]] = []
        self._spent: Counter[str] = Counter()
        self._spent_at: dict[str, float] = {}
        settings = schedule.settings
        slots = settings["slots"]
        policy = GatherPolicy(
            timeout=settings["timeout"],
            quorum=settings["quorum"],
            straggler_grace=settings["grace"],
            max_concurrency=None if settings["shared_slots"] else slots,
            retry=RetryPolicy(retries=settings["retries"], first_wait_s=0.2),
            budget=None if settings["max_tokens"] is None else Budget(max_tokens=settings["max_tokens"]),
        )
        self._semaphore = SharedSemaphore(slots) if slots is not None and settings["shared_slots"] else None
        self.blender = Blender(
            self._members(),
            ranker=schedule.ranker
            if isinstance(schedule.ranker, str)
            else PlannedRanker(self.world, schedule.ranker, schedule.ranker_close),
            fuser=self._fuser(),
            fuse_when=make_fuse_when(self.world, schedule.fuse_when),
            guard=None if schedule.guard == Act() else make_guard(self.world, schedule.guard),
            top_k=settings["top_k"],
            deadline=settings["deadline"],
            policy=policy,
            semaphore=self._semaphore,
            member_prior=self._prior(),
            rng=random.Random(schedule.seed),
        )

    def _members(self) -> list[Any]:
        kinds = {True: BlockingMember, False: AsyncMember}
        return [
            kinds[plan.blocking](self.world, f"m{place}", plan.acts, self._log)
            for place, plan in enumerate(self.schedule.members)
        ]

    def _fuser(self) -> Any:
        form = self.schedule.fuser
        if form in (None, "llm"):
            return form
        return make_fuser(self.world, str(form), self.schedule.fuser_acts)

    def _prior(self) -> Any:
        prior = self.schedule.prior
        if isinstance(prior, Act):
            return PlannedPrior(self.world, prior)
        if prior == "declared" and len(self.schedule.members) > 1:
            return MemberPrior.declared([f"m{place}" for place in range(len(self.schedule.members))])
        return MemberPrior() if prior is not None else None

    # -- what parts tell ---------------------------------------------------------------------------------

    def _log(self, what: str, prompt: Prompt) -> None:
        limit = self.schedule.settings["max_tokens"]
        if self.world.calm or prompt.purpose != "answer":
            return
        call = prompt.messages[-1].content
        if what == "spent":
            self._spent[call] += 30
            if limit is not None and self._spent[call] >= limit:
                self._spent_at.setdefault(call, self.world.now)
        # an answer of this very moment may not have reached the engine
        elif self.world.now > self._spent_at.get(call, float("inf")):
            self._break(f"{prompt.member} was asked after {self._spent[call]} of {limit} tokens were spent")

    def _tell(self, line: str) -> None:
        self.report.story.append(f"{self.world.now:9.3f} {line}")

    def _break(self, line: str) -> None:
        self._tell(f"BROKEN {line}")
        self.report.broken.append(line)

    # -- the schedule ------------------------------------------------------------------------------------

    async def main(self) -> None:
        calls = self.schedule.calls
        tasks = [asyncio.create_task(self._one(number, call), name="chaos") for number, call in enumerate(calls)]
        await asyncio.wait(tasks)
        for task in tasks:
            await task
        peak, slots = self.world.peak, self.schedule.settings["slots"]
        if slots is not None and peak > slots:
            self._break(f"{peak} parts ran at once in {slots} slots")
        await asyncio.sleep(_CALM_S)
        self._check_nothing_runs()
        self.world.calm = True
        await self._probe()

    def _check_nothing_runs(self) -> None:
        own = {asyncio.current_task(), *self.world.deaf}
        for task in asyncio.all_tasks() - own:
            if task.get_name() != "chaos":
                self._break(f"a task still runs: {task.get_coro()}")
        for line in threads_left(self.world):
            self._break(f"still runs: {line}")

    async def _probe(self) -> None:
        """Call once more, with parts that answer at once: whatever the calls held is free again."""
        began = self.world.now
        call = asyncio.create_task(self.blender.ablend("probe"))
        await asyncio.wait([call], timeout=10.0)
        if not call.done():
            self._break("the next call never ends, although all members would answer at once")
            call.cancel()
            return
        settings = self.schedule.settings
        error = call.exception()
        if settings["max_tokens"] is not None or settings["grace"] is not None:
            # these may end members that have not answered yet
            return
        if error is not None:
            self._break(f"the next call fails, although all members would answer at once: {error!r}")
            return
        result = call.result()
        if result.failed:
            self._break(f"the next call does not ask all members: {result.failed[0]!r}")
        if self.world.now - began > 1.0 and settings["deadline"] is None:
            self._break(f"the next call takes {self.world.now - began:.2f} s, although all members answer at once")

    async def _one(self, number: int, call: CallPlan) -> None:
        await asyncio.sleep(call.starts_at)
        tag = _Tag()
        self.tags.append(weakref.ref(tag))
        prompt = Prompt((Message("user", f"Question {number}: what is the capital?"),), native=tag)
        del tag
        events: list[Any] = []
        work = self._consume(prompt, call, events) if call.mode == "stream" else self._whole(prompt)
        del prompt
        task = asyncio.create_task(work, name="chaos")
        began = self.world.now
        cancelled_at: list[float] = []

        def cancel() -> None:
            if not task.done():
                cancelled_at.append(self.world.now)
                task.cancel()

        if call.ends == "cancel at turn":
            self.world.loop.at_turn(int(call.after), cancel)
        elif call.ends == "cancel at time":
            self.world.loop.call_later(call.after, cancel)
        await asyncio.wait([task], timeout=self._longest())
        if not task.done():
            self._break(f"call {number} never ends: not after {self.world.now - began:.1f} s")
            task.cancel()
            return
        self._check_time(number, call, began, cancelled_at, events)
        self._check_end(number, call, task, cancelled_at, events)

    async def _whole(self, prompt: Prompt) -> BlendResult:
        return await self.blender.ablend(prompt, accept=self._accept())

    async def _consume(self, prompt: Prompt, call: CallPlan, events: list[Any]) -> BlendResult | None:
        async with aclosing(self.blender.astream(prompt, accept=self._accept())) as stream:  # type: ignore[type-var]
            async for event in stream:
                events.append(event)
                if call.ends == "close" and len(events) == call.after:
                    return None
                if call.dawdles:
                    await asyncio.sleep(call.dawdles)
        return events[-1].result if events and isinstance(events[-1], Finished) else None

    def _accept(self) -> Any:
        act = self.schedule.accept
        return None if act is None else make_accept(self.world, act, 0.3, random.Random(self.schedule.seed))

    # -- promises ----------------------------------------------------------------------------------------

    def _longest(self) -> float:
        """Seconds within which any call must end; generous, since the deadline is checked by itself."""
        schedule, settings = self.schedule, self.schedule.settings
        turns = len(schedule.calls) * (2 * len(schedule.members) + 1)
        slowest = 5.0 * 4 * (1 + settings["retries"]) if settings["timeout"] is None else 2 * settings["timeout"] + 0.5
        judgements = 8.0 * 3 * len(schedule.members) * len(schedule.calls)
        return turns * slowest + judgements + 100.0

    def _check_time(
        self, number: int, call: CallPlan, began: float, cancelled_at: list[float], events: list[Any]
    ) -> None:
        now = self.world.now
        deadline = self.schedule.settings["deadline"]
        late = call.dawdles * len(events)
        if cancelled_at and now - cancelled_at[0] > _CANCEL_GRACE_S + late:
            self._break(f"call {number} ended {now - cancelled_at[0]:.3f} s after its cancellation")
        elif deadline is not None and now - began > deadline + _GRACE_S + late + 1e-6:
            self._break(f"call {number} ended after {now - began:.3f} s at deadline {deadline}")

    def _check_end(
        self, number: int, call: CallPlan, task: asyncio.Task[Any], cancelled_at: list[float], events: list[Any]
    ) -> None:
        if task.cancelled():
            self.report.ended += 1
            self._tell(f"call {number} was cancelled")
            if not cancelled_at:
                self._break(f"call {number} raised CancelledError, but nobody cancelled it")
            return
        error = task.exception()
        if error is None and task.result() is None:
            self.report.ended += 1
            self._tell(f"call {number} was closed")
            if call.ends != "close":
                self._break(f"the stream of call {number} ended without a result")
            return
        if error is not None:
            self.report.errors += 1
            self._tell(f"call {number} raised {error!r}")
            if not isinstance(error, BlendError):
                self._break(f"call {number} raised {type(error).__name__}, not an error of the tree: {error!r}")
            elif isinstance(error, QuorumError):
                self._check_outcomes(number, error.outcomes)
                json.dumps([str(outcome.reason) for outcome in error.outcomes])
            return
        self.report.answers += 1
        result = task.result()
        self._tell(f"call {number} gave {result!r}; {result.decision}")
        self._check_result(number, result)
        if call.mode == "stream":
            self._check_events(number, events)

    def _check_outcomes(self, number: int, outcomes: Any) -> None:
        names = [name for name, _ in self.blender.members]
        if [outcome.member for outcome in outcomes] != names:
            self._break(f"call {number} has outcomes of {[outcome.member for outcome in outcomes]}, not of {names}")
        timeout = self.schedule.settings["timeout"]
        for outcome in outcomes:
            if outcome.ok != (outcome.answer is not None):
                self._break(f"call {number}: the status of {outcome.member} is {outcome.status}, its answer differs")
            if not outcome.ok and not outcome.reason:
                self._break(f"call {number}: {outcome.member} failed without a reason")
            if timeout is not None and outcome.latency_s > timeout + 0.2:
                self._break(f"call {number}: {outcome.member} ran for {outcome.latency_s:.2f} s at timeout {timeout}")

    def _check_result(self, number: int, result: BlendResult) -> None:
        self.report.fusions += not result.decision.startswith("picked") or "it was tried" in result.decision
        outcomes = [record.outcome for record in result.candidates]
        self._check_outcomes(number, outcomes)
        try:
            json.dumps(result.to_dict(), allow_nan=False)
        except (TypeError, ValueError) as error:
            self._break(f"the report of call {number} is no JSON: {error}")
        answered = {outcome.member: outcome.answer for outcome in outcomes if outcome.ok}
        if result.winner not in answered or not set(result.fused) <= answered.keys():
            self._break(f"call {number}: {result.winner} won and {result.fused} were fused, {list(answered)} answered")
        elif not result.fused and result.text != answered[result.winner].text:
            self._break(f"call {number}: the text is not the answer of {result.winner}")
        if result.fused and not result.text.strip():
            self._break(f"call {number}: the fused text is empty")

    def _check_events(self, number: int, events: list[Any]) -> None:
        kinds = [type(event) for event in events]
        if kinds.count(Finished) != 1 or kinds[-1] is not Finished:
            self._break(f"call {number}: Finished came {kinds.count(Finished)} times, {kinds[-1].__name__} was last")
            return
        ends = Counter(event.outcome.member for event in events if isinstance(event, MemberAnswered | MemberFailed))
        if sorted(ends.elements()) != sorted(name for name, _ in self.blender.members):
            self._break(f"call {number}: members ended {dict(ends)} times in the events")
        starts = Counter(event.member for event in events if isinstance(event, MemberStarted))
        if any(count > 1 for count in starts.values()):
            self._break(f"call {number}: members started {dict(starts)} times in the events")
        if kinds.count(FusionStarted) > 1 or kinds.count(FusionRejected) > kinds.count(FusionStarted):
            self._break(f"call {number}: fusion started and was rejected in another order than the events say")
        ranked = kinds.index(Ranked) if Ranked in kinds else -1
        if ranked >= 0 and any(kind in (MemberAnswered, MemberFailed, MemberStarted) for kind in kinds[ranked:]):
            self._break(f"call {number}: a member's event came after the ranking")
        text = ""
        for event in events:
            if isinstance(event, FusionRejected):
                if event.streamed != len(text):
                    self._break(f"call {number}: {len(text)} characters were streamed, the event says {event.streamed}")
                text = ""
            text += event.text if isinstance(event, Token) else ""
        if text != events[-1].result.text:
            self._break(f"call {number}: the pieces are {text!r}, the text is {events[-1].result.text!r}")

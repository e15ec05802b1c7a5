"""Make one call of the blend: gather, accept, vote or rank, decide, fuse, guard.

```
Prompt ── gather ──> MemberOutcome per member ── accept, vote on tool calls ──> candidates
       ── rank, flawed last ──> Ranking ── fuse_when ──> Decision ── fuse, guard ──> text ──> BlendResult
```

Whatever can take long, a user's function or a huge text, runs in a thread and ends with the deadline: the event loop is
the caller's too. Nothing here outlives the call. If something fails after the quorum has answered, the best answer so
far is returned, with the reason in ``BlendResult.degraded``. A fused text that is refused for what it says is no fault;
its reason is ``BlendResult.fusion_refused``.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from blender_core.errors import FusionError, QuorumError, RankerError
from blender_core.events import FusionRejected, FusionStarted, Ranked, Thought, Token
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.policy import Decision, FuseContext
from blender_core.fuse.protocol import FusedText, Fuser, FusionInput
from blender_core.fuse.run import RejectedFusionError, run_fusion
from blender_core.gather.breaker import CircuitBreaker
from blender_core.gather.call import CallRuntime
from blender_core.gather.gatherer import gather, quorum_of
from blender_core.gather.judges import BlendAsking
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.spending import Spending
from blender_core.members.member import Member
from blender_core.rank.asking import Tally, asking_for
from blender_core.rank.flaws import SOUND, Flaw, find_flaws, move_behind
from blender_core.rank.protocol import Ranker
from blender_core.rank.run import RankingRun, run_ranking
from blender_core.rank.strength import Prior, preference, strongest_first
from blender_core.redaction import redacted, told
from blender_core.runtime.program_end import carrying
from blender_core.runtime.semaphore import SharedSemaphore
from blender_core.runtime.threads import CHECKS, call_in_thread, compute_in_thread, drain
from blender_core.selection import Accept, Selection, check_answer, check_is_quick, set_aside
from blender_core.text.distinct import distinct_candidates
from blender_core.text.refusal import is_refusal
from blender_core.types.answer import Answer, Usage, ended_by_length
from blender_core.types.outcome import MemberOutcome, Status
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking
from blender_core.types.result import BlendResult, CandidateRecord, Timings
from blender_core.types.returned import checked_ranking
from blender_core.types.votes import normalised_call

__all__ = ["BlendCall", "BlendPlan"]

# kept free at the end of a deadline, so that the result is ready in time
_MARGIN_S = 0.02
# for work that is quick on all but huge answers, if the time is over
_LEAST_S = 0.005
# of answers together; reading them takes the event loop about a millisecond
_FEW_CHARACTERS = 4_000
# of a picked text that is streamed: least characters of a piece, and most pieces of a huge text
_PIECE_CHARACTERS, _PIECES = 24, 1_000
_PIECE_END = re.compile(r"\s(?=\S)")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlendPlan:
    """Holds what is the same for every call of a blend.

    Attributes:
        members: Unique name and member, in order, reserves last.
        ranker: Loads or returns the ranker. It runs in a thread, so loading counts towards the deadline.
        fallback_ranker: Used if the ranker fails or times out; must be fast.
        fuser: The fuser, or ``None`` to pick only.
        fuse_when: Decides whether to fuse.
        guard: Checks a fused text.
        top_k: Most answers that are fused.
        policy: The gather policy.
        semaphore: Limits how many members run at once; ``None`` is no limit.
        deadline: Wall-clock seconds for the whole call; ``None`` is no limit.
        gather_share: Share of the deadline after which gathering ends if the quorum is met.
        member_prior: Strength of the members from earlier rankings, or ``None``.
        move_behind: Moves candidates behind all others by the severity of their flaws.
        reserves: How many of the members are reserves.
        breaker: Says which members are down, or ``None``.
        ready_ranker: Returns the ranker at once if it needs no loading, else ``None``.
    """

    members: tuple[tuple[str, Member], ...]
    ranker: Callable[[], Ranker]
    fallback_ranker: Ranker
    fuser: Fuser | None
    fuse_when: Callable[[FuseContext], Decision]
    guard: FusionGuard
    top_k: int
    policy: GatherPolicy
    semaphore: SharedSemaphore | None
    deadline: float | None
    gather_share: float
    member_prior: Prior | None = None
    move_behind: Callable[[Ranking, Sequence[int]], Ranking] = move_behind
    reserves: int = 0
    breaker: CircuitBreaker | None = None
    ready_ranker: Callable[[], Ranker | None] = lambda: None


class _Material(NamedTuple):
    """Holds what could be fused.

    Attributes:
        sources: The answers, best first; at least one.
        request: The fuser's input.
        agreement: Share of all ranked answers that equal the best.
        alone: Why there is one source only; empty if there are more.
        strongest: The strongest member that answered or refused.
    """

    sources: tuple[MemberOutcome, ...]
    request: FusionInput
    agreement: float
    alone: str
    strongest: MemberOutcome


class BlendCall:
    """Makes one call and holds its state; made anew for each call.

    Args:
        plan: What is the same for every call.
        prompt: The prompt.
        runtime: Clock, sleep, random numbers, events.
        accept: Checks an answer; returns why it cannot be used, or ``None``.
        streaming: Whether to emit ``Token`` events.
    """

    def __init__(
        self,
        plan: BlendPlan,
        prompt: Prompt,
        runtime: CallRuntime,
        *,
        accept: Accept | None = None,
        streaming: bool = False,
    ) -> None:
        self._plan = plan
        self._prompt = prompt
        self._runtime = runtime
        self._accept = accept
        self._streaming = streaming
        self._spending = Spending(plan.policy.budget, [member for _, member in plan.members])
        self._began = runtime.clock()
        self._judged = Tally()
        self._degraded: list[str] = []
        self._problems: dict[int, str] = {}
        self._cut: dict[str, dict[str, int]] = {}
        self._fuser_wrote: FusedText | None = None
        self._fusion_refused: str | None = None
        self._flaws: dict[int, Flaw] = {}

    async def run(self) -> BlendResult:
        """Make the call.

        Returns:
            The result.

        Raises:
            QuorumError: Fewer members answered than the quorum. The message names each member's cause.
        """
        clock = self._runtime.clock
        outcomes = await self._gather()
        gathered = clock()
        selection = await self._selected([outcome for outcome in outcomes if outcome.ok])
        if selection.problem is not None:
            self._degraded.append(selection.problem)
        # both read the same texts, so they do it at the same time
        flaws = asyncio.create_task(carrying(lambda: self._find_flaws(selection.outcomes)))
        ranking: Ranking | None = None
        fused: FusedText | None = None
        sources: tuple[MemberOutcome, ...] = ()
        decision = Decision(False, selection.reason)
        try:
            if selection.decided is None:
                async with self._judges(selection.outcomes) as judges:
                    ranking = await self._rank(selection.outcomes, judges, flaws)
            self._flaws = await flaws
        finally:
            await drain([] if flaws.done() else [flaws])
        if ranking is not None:
            ranking = await self._flawed_behind(ranking, selection.outcomes)
        winner = selection.decided or selection.outcomes[0 if ranking is None else ranking.best]
        ranked = clock()
        self._announce(selection, ranking, winner)
        if ranking is not None and not selection.reason:
            decision, material = await self._decide(selection.outcomes, ranking, outcomes)
            if decision.fuse and material is not None:
                sources = material.sources
                # a measure of groundedness may ask an LLM about the fused text
                async with self._judges(selection.outcomes):
                    fused = await self._fuse(material)
        text = fused.text if fused is not None else _text_of(winner)
        if self._streaming and fused is None:
            if thoughts := _answer_of(winner).thoughts:
                self._runtime.emit(Thought(thoughts))
            for piece in _pieces(text):
                self._runtime.emit(Token(piece))
        ended = clock()
        timings = Timings(
            gathered - self._began,
            ranked - gathered,
            ended - ranked if decision.fuse else 0.0,
            ended - self._began,
        )
        return self._result(
            outcomes,
            selection,
            ranking,
            winner,
            fused,
            sources if fused is not None else (),
            decision,
            timings,
        )

    # -- gather ------------------------------------------------------------------------------------------

    async def _gather(self) -> tuple[MemberOutcome, ...]:
        plan = self._plan
        soft = hard = None
        blocked: dict[str, float] = {}
        if plan.deadline is not None:
            soft, hard = plan.deadline * plan.gather_share, max(0.0, plan.deadline * 0.95 - _MARGIN_S)
        outcomes = await gather(
            plan.members,
            self._prompt,
            plan.policy,
            semaphore=plan.semaphore,
            spending=self._spending,
            runtime=self._runtime,
            soft_limit_s=soft,
            hard_limit_s=hard,
            check=None if self._accept is None else lambda outcome: check_answer(self._accept, outcome),
            check_blocks=not check_is_quick(self._accept),
            problems=self._problems,
            blocked=blocked,
            reserves=plan.reserves,
            breaker=plan.breaker,
        )
        self._degraded += [
            f"{name} blocked the event loop for {seconds:.2g} s; blocks_event_loop = True on it gives it a thread"
            for name, seconds in blocked.items()
        ]
        quorum = quorum_of(plan.policy.quorum, len(outcomes), outcomes)
        if sum(outcome.ok for outcome in outcomes) < quorum:
            raise QuorumError(quorum, outcomes)
        return outcomes

    async def _apart(
        self,
        work: Callable[[], T],
        *,
        what: str,
        otherwise: T,
        then: str,
        turns: SharedSemaphore | None = None,
        characters: int | None = None,
    ) -> T:
        """Do work in a thread, within the deadline; without one, within the time of a member.

        Args:
            work: May take long or raise.
            what: What it does, for ``degraded``.
            otherwise: Taken if it is not done in time, or raised.
            then: What that means, in words.
            turns: ``CHECKS`` for work of the engine alone; a user's function may hang, so it must not hold a turn.
            characters: Read by such work; if they are few, it needs no thread.

        Returns:
            The work's result, or ``otherwise``.
        """
        left = self._time_left()
        limit_s = self._plan.policy.timeout if left is None else max(left + 2 * _MARGIN_S, _LEAST_S)
        scope = asyncio.timeout(limit_s)
        try:
            if characters is not None and characters <= _FEW_CHARACTERS:
                return work()
            async with scope:
                return await compute_in_thread(work, turns=turns)
        except Exception as error:
            problem = told(error)
            if scope.expired():
                problem = "not ready " + (f"within {limit_s:.3g} s" if left is None else "before the deadline")
            self._degraded.append(f"{what}: {problem}; {then}")
            return otherwise

    async def _selected(self, answered: Sequence[MemberOutcome]) -> Selection:
        if not any(_answer_of(outcome).tool_calls for outcome in answered):
            # quick without a vote
            return set_aside(answered, self._problems)
        usable = [outcome for outcome in answered if outcome.index not in self._problems] or list(answered)
        first = Selection(tuple(usable), dict(self._problems), usable[0], "the vote on tool calls was not ready")
        return await self._apart(
            lambda: set_aside(answered, self._problems),
            what="the vote on tool calls",
            otherwise=first,
            then="took the first answer",
            turns=CHECKS,
        )

    async def _find_flaws(self, outcomes: Sequence[MemberOutcome]) -> dict[int, Flaw]:
        answers = [_answer_of(outcome) for outcome in outcomes]
        found = await self._apart(
            lambda: find_flaws(self._prompt, answers),
            what="the search for flaws",
            otherwise=[SOUND] * len(outcomes),
            then="took all answers as sound",
            turns=CHECKS,
            characters=sum(len(answer.text) for answer in answers),
        )
        return {outcome.index: flaw for outcome, flaw in zip(outcomes, found, strict=True)}

    # -- rank --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _judges(self, outcomes: Sequence[MemberOutcome]) -> AsyncIterator[BlendAsking]:
        """Let rankers and measures ask LLMs in this stage, and end with it what they still ask."""
        plan = self._plan
        authors: dict[str, frozenset[str]] = {}
        for outcome in outcomes:
            text = _ranked_text(outcome)
            authors[text] = authors.get(text, frozenset()) | {outcome.member}
        asking = BlendAsking(
            plan.members, authors, plan.policy, self._spending, self._runtime, plan.semaphore, self._judged
        )
        try:
            with asking_for(asking):
                yield asking
        finally:
            await asking.close("its time was over")

    async def _rank(
        self, outcomes: Sequence[MemberOutcome], judges: BlendAsking, flaws: asyncio.Task[dict[int, Flaw]]
    ) -> Ranking:
        texts = [_ranked_text(outcome) for outcome in outcomes]
        plan = self._plan

        async def severities() -> list[int]:
            # a ranker that is given up does not end the search
            found = await asyncio.shield(flaws)
            return [found[outcome.index].severity for outcome in outcomes]

        run = await run_ranking(
            plan.ranker,
            plan.fallback_ranker,
            self._prompt,
            texts,
            severities=severities,
            ready=plan.ready_ranker,
            limit_s=self._time_left(),
            stop_after=judges.stop_after,
        )
        if run.problem is not None:
            self._degraded.append(run.problem)
        self._degraded.extend(f"ranker: {problem}" for problem in run.ranking.problems)
        if run.ranking.cut:
            self._cut["ranker"] = _named_cut(run.ranking.cut, outcomes)
        if plan.member_prior is None:
            return run.ranking
        return await self._with_prior(plan.member_prior, run, outcomes, texts)

    async def _with_prior(
        self, prior: Prior, run: RankingRun, outcomes: Sequence[MemberOutcome], texts: Sequence[str]
    ) -> Ranking:
        ranking = run.ranking
        names = [outcome.member for outcome in outcomes]

        def blend() -> Ranking:
            blended = checked_ranking(prior.blend(names, ranking, texts), len(texts))
            if list(map(math.isfinite, blended.scores)) != list(map(math.isfinite, ranking.scores)):
                raise RankerError(f"it made {list(blended.scores)} of the scores {list(ranking.scores)}")
            return blended

        what, none = "member prior", None
        blended: Ranking | None = await self._apart(blend, what=what, otherwise=none, then="ranked without it")
        if blended is None:
            return ranking
        if run.problem is not None:
            # it learns from the ranker that was chosen
            return blended
        if run.hidden:
            # of these it said nothing
            scores = [-math.inf if index in run.hidden else score for index, score in enumerate(ranking.scores)]
            ranking = ranking.rescored(scores, comparisons=ranking.comparisons)
        lost = "this ranking may be lost to it"
        await self._apart(lambda: prior.observe(names, ranking), what=what, otherwise=None, then=lost)
        return blended

    async def _flawed_behind(self, ranking: Ranking, outcomes: Sequence[MemberOutcome]) -> Ranking:
        severities = [self._flaws[outcome.index].severity for outcome in outcomes]
        if not any(severities):
            return ranking
        return await self._apart(
            lambda: self._plan.move_behind(ranking, severities),
            what="flawed answers",
            otherwise=ranking,
            then="were not moved behind",
            turns=CHECKS,
        )

    def _announce(self, selection: Selection, ranking: Ranking | None, winner: MemberOutcome) -> None:
        if ranking is not None:
            names = tuple(outcome.member for outcome in selection.outcomes)
            self._runtime.emit(Ranked(ranking, names, _text_of(winner), winner.member))

    # -- fuse --------------------------------------------------------------------------------------------

    def _strongest_first(self, outcomes: Sequence[MemberOutcome]) -> tuple[MemberOutcome, ...]:
        """The members that answered or refused, the strongest first; without a prior as they were given."""
        names = [name for name, _ in self._plan.members]
        try:
            names = list(strongest_first(self._plan.member_prior, names))
        except Exception as error:
            self._degraded.append(f"member prior: {told(error)}; kept the order of the members")
        heard = {outcome.member: outcome for outcome in outcomes if outcome.status in (Status.OK, Status.REFUSED)}
        return tuple(heard[name] for name in names if name in heard)

    def _material(
        self, outcomes: Sequence[MemberOutcome], ranking: Ranking, order: Sequence[MemberOutcome]
    ) -> _Material:
        """Collect what may be fused: answers no worse in flaws than the best, each text once, no refusals."""
        ordered = [outcomes[index] for index in ranking.order if ranking.scores[index] > -math.inf]
        positions = distinct_candidates([_text_of(outcome) for outcome in ordered]).positions
        firsts = [outcome for place, outcome in enumerate(ordered) if positions.index(positions[place]) == place]
        best = ordered[0]
        worst = self._flaws[best.index].severity
        sound = [
            one for one in firsts[1:] if self._flaws[one.index].severity <= worst and not is_refusal(_text_of(one))
        ]
        sources = (best, *sound)[: self._plan.top_k]
        alone = ""
        if len(sources) < 2:
            alone = "all answers agree" if len(firsts) < 2 else "top_k is 1" if sound else "the others are flawed"
        members = self._plan.members
        request = FusionInput(
            self._prompt.text,
            tuple(map(_text_of, sources)),
            tuple(members[outcome.index][1] for outcome in order if outcome.ok),
            self._prompt,
        )
        return _Material(sources, request, positions.count(positions[0]) / len(outcomes), alone, order[0])

    async def _decide(
        self, ranked: Sequence[MemberOutcome], ranking: Ranking, outcomes: Sequence[MemberOutcome]
    ) -> tuple[Decision, _Material | None]:
        reason = self._always_picked()
        if reason:
            return Decision(False, reason), None
        none: _Material | None = None
        material = await self._apart(
            lambda: self._material(ranked, ranking, self._strongest_first(outcomes)),
            what="the answers to fuse",
            otherwise=none,
            then="picked",
            turns=CHECKS,
        )
        if material is None:
            return Decision(False, "the answers to fuse could not be chosen"), None
        reason = self._never_fused(material) or await self._fuser_unable(material.request) or self._no_means()
        if reason:
            return Decision(False, reason), None
        untold = Decision(False, "fuse_when did not say")
        return await self._apart(
            lambda: self._told_to_fuse(ranking, material), what="fuse_when", otherwise=untold, then="picked"
        ), material

    def _told_to_fuse(self, ranking: Ranking, material: _Material) -> Decision:
        ahead, ahead_of_fuser = self._ahead(material)
        context = FuseContext(
            self._prompt, material.request.candidates, ranking, material.agreement, ahead, ahead_of_fuser
        )
        try:
            return self._plan.fuse_when(context)
        except Exception as error:
            reason = f"fuse_when raised {told(error)}"
            self._degraded.append(reason)
            return Decision(False, reason)

    def _always_picked(self) -> str:
        """Why nothing is fused, whatever the answers are; empty if that depends on them."""
        if self._plan.fuser is None:
            return "no fuser"
        return "structured output is picked, never fused" if self._prompt.structured else ""

    def _never_fused(self, material: _Material) -> str:
        """Why these answers are not fused under any policy; empty if they may be."""
        if is_refusal(material.request.candidates[0]):
            return "the best answer is a refusal"
        strongest = material.strongest
        if strongest.answer is None or is_refusal(strongest.answer.text):
            return f"{strongest.member}, the strongest member, refused"
        return material.alone

    async def _fuser_unable(self, request: FusionInput) -> str:
        """Why the fuser cannot take the prompt; empty if it can, or does not say."""
        why_not = getattr(self._plan.fuser, "why_not", None)
        if why_not is None:
            return ""
        try:
            # it may ask a server for its window, or count a long prompt
            async with asyncio.timeout(self._time_left()):
                return await call_in_thread(why_not, request) or ""
        except Exception as error:
            self._degraded.append(f"the fuser's why_not raised {told(error)}")
            return ""

    def _no_means(self) -> str:
        """Why no fusion can be paid or be ready in time; empty if one can."""
        reason = self._spending.exhausted()
        left = self._time_left()
        if reason is None and left is not None and left <= _MARGIN_S:
            reason = "no time before the deadline"
        if reason is not None:
            self._degraded.append(f"fusion left out: {reason}")
        return reason or ""

    def _ahead(self, material: _Material) -> tuple[float | None, float | None]:
        """The probabilities that the winner's member beats the others, and that it beats the fuser."""
        prior, (best, *others) = self._plan.member_prior, [outcome.member for outcome in material.sources]
        try:
            known = [preference(prior, best, other) for other in others]
            over = [one for one in known if one is not None]
            fuser = self._fusing_member(material.request)
            return min(over, default=None), None if fuser is None else preference(prior, best, fuser)
        except Exception as error:
            self._degraded.append(f"member prior: {told(error)}; decided without it")
            return None, None

    def _fusing_member(self, request: FusionInput) -> str | None:
        writer = getattr(self._plan.fuser, "writer", None)
        try:
            member = None if writer is None else writer(request)
        except FusionError:
            return None
        return next((name for name, known in self._plan.members if known is member), None)

    async def _fuse(self, material: _Material) -> FusedText | None:
        plan, sources, request = self._plan, material.sources, material.request
        fuser = plan.fuser
        assert fuser is not None
        self._runtime.emit(FusionStarted(fuser.name, tuple(outcome.member for outcome in sources)))
        limits = [limit for limit in (self._time_left(), plan.policy.timeout) if limit is not None]
        try:
            fused = await run_fusion(
                fuser,
                request,
                guard=plan.guard,
                limit_s=min(limits) if limits else None,
                emit=self._runtime.emit if self._streaming else None,
                in_threads=self._runtime.in_threads,
                semaphore=plan.semaphore,
                may_be_cut=ended_by_length(_answer_of(sources[0]).finish_reason),
                blocked=lambda seconds: self._degraded.append(
                    f"fusion: {fuser.name} blocked the event loop for {seconds:.2g} s"
                ),
            )
        except RejectedFusionError as rejected:
            if rejected.fault:
                self._degraded.append(f"fusion: {rejected.reason}")
            else:
                self._fusion_refused = rejected.reason
            self._fuser_wrote = rejected.fused
            self._runtime.emit(FusionRejected(rejected.reason, rejected.streamed))
            return None
        self._fuser_wrote = fused
        if fused.cut:
            self._cut["fuser"] = _named_cut(fused.cut, sources)
        return fused

    # -- result ------------------------------------------------------------------------------------------

    def _result(
        self,
        outcomes: Sequence[MemberOutcome],
        selection: Selection,
        ranking: Ranking | None,
        winner: MemberOutcome,
        fused: FusedText | None,
        sources: Sequence[MemberOutcome],
        decision: Decision,
        timings: Timings,
    ) -> BlendResult:
        place = {outcome.index: position for position, outcome in enumerate(selection.outcomes)}
        in_fusion = {outcome.index for outcome in sources}
        ranks = () if ranking is None else ranking.ranks
        records = []
        for outcome in outcomes:
            position = place.get(outcome.index)
            scored = ranking is not None and position is not None
            records.append(
                CandidateRecord(
                    outcome,
                    score=ranking.scores[position] if ranking is not None and position is not None else None,
                    rank=None if position is None else ranks[position] if scored else 1,
                    fused=outcome.index in in_fusion,
                    invalid=selection.set_aside.get(outcome.index),
                    flaw=self._flaws[outcome.index].reason or None if outcome.index in self._flaws else None,
                    evidence=_evidence(ranking, position),
                )
            )
        # a member that cannot do the call asks no model
        unable = (Status.UNSUPPORTED, Status.TOO_LONG)
        called = [outcome for outcome in outcomes if outcome.attempts and outcome.status not in unable]
        used = [outcome.usage for outcome in called]
        costs = [outcome.cost for outcome in called]
        wrote = self._fuser_wrote
        fuser_usage, fuser_cost = (None, None) if wrote is None else (wrote.usage, wrote.cost)
        if decision.fuse:
            used.append(fuser_usage)
            costs.append(fuser_cost)
        if self._judged.calls:
            used.append(self._judged.usage)
            costs.append(self._judged.cost)
        # a try that failed may have used tokens
        once = all(outcome.attempts <= 1 for outcome in outcomes)
        total = sum((usage for usage in used if usage is not None), Usage())
        known_costs = [cost for cost in costs if cost is not None]
        return BlendResult(
            text=fused.text if fused is not None else _text_of(winner),
            answer=None if fused is not None else winner.answer,
            winner=winner.member,
            winner_index=winner.index,
            candidates=tuple(records),
            ranking=ranking,
            fused=tuple(outcome.member for outcome in sources),
            decision=redacted(self._told(decision, fused)),
            degraded=tuple(map(redacted, self._degraded)),
            timings=timings,
            usage=total,
            usage_known=None not in used and not total.estimated and once and self._judged.usage_known,
            cost=sum(known_costs) if known_costs else None,
            cost_known=None not in costs and not total.estimated and once and self._judged.cost_known,
            fuser=None if fused is None else fused.fuser,
            cut=self._cut,
            fusion_refused=self._fusion_refused,
            finish_reason=_answer_of(winner).finish_reason if fused is None else fused.finish_reason,
            thoughts=_answer_of(winner).thoughts if fused is None else fused.thoughts,
            fuser_usage=fuser_usage,
            fuser_cost=fuser_cost,
            ranker_usage=self._judged.usage,
            ranker_cost=self._judged.cost,
        )

    def _told(self, decision: Decision, fused: FusedText | None) -> str:
        if fused is not None or not decision.fuse:
            return f"{'picked' if fused is None else 'fused'}: {decision.reason}"
        failed = "could not be made" if self._fusion_refused is None else "was refused"
        return f"picked: the fused text {failed} (it was tried: {decision.reason})"

    def _time_left(self) -> float | None:
        if self._plan.deadline is None:
            return None
        return max(0.0, self._plan.deadline - _MARGIN_S - (self._runtime.clock() - self._began))


def _answer_of(outcome: MemberOutcome) -> Answer:
    assert outcome.answer is not None
    return outcome.answer


def _text_of(outcome: MemberOutcome) -> str:
    return _answer_of(outcome).text


def _ranked_text(outcome: MemberOutcome) -> str:
    calls = (f"{name}({arguments})" for name, arguments in map(normalised_call, _answer_of(outcome).tool_calls))
    return "\n".join([_text_of(outcome), *calls]).lstrip("\n")


def _evidence(ranking: Ranking | None, position: int | None) -> dict[str, float]:
    if ranking is None or position is None:
        return {}
    said = {name: values[position] for name, values in ranking.evidence.items()}
    return {name: round(value, 6) for name, value in said.items() if math.isfinite(value)}


def _named_cut(cut: object, outcomes: Sequence[MemberOutcome]) -> dict[str, int]:
    assert hasattr(cut, "items")
    return {"prompt" if index < 0 else outcomes[index].member: tokens for index, tokens in cut.items()}


def _pieces(text: str) -> Iterator[str]:
    """Split a finished text at white space; joined, the pieces are the text."""
    least = max(_PIECE_CHARACTERS, len(text) // _PIECES)
    start = 0
    while start < len(text):
        found = _PIECE_END.search(text, start + least - 1)
        end = len(text) if found is None else found.end()
        # the pattern ends before the sign that follows the white space
        yield text[start:end]
        start = end

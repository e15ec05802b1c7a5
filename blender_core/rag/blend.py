"""Blend the answers of several retrieval engines."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Unpack

from blender_core.blender import Blender
from blender_core.errors import ConfigurationError, RankerError
from blender_core.events import BlendEvent, FusionRejected, FusionStarted, MemberAnswered, Ranked, Token
from blender_core.fuse.protocol import Fuser
from blender_core.gather.call import CallRuntime
from blender_core.members.member import Member
from blender_core.pipeline import BlendCall
from blender_core.rag.citations import CitationReport, StreamedCitations, rewrite_citations
from blender_core.rag.citing_fuser import CitingFuser
from blender_core.rag.grounded_ranker import GroundedRanker, GroundedRanking, moved_behind
from blender_core.rag.groundedness import LexicalGroundedness
from blender_core.rag.member import candidate_of
from blender_core.rag.sources import GroundedCandidate, LinkedSource, unite_sources
from blender_core.rank.flaws import move_behind
from blender_core.rank.member_prior import MemberPrior
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import check_members
from blender_core.runtime.keywords import takes_keywords
from blender_core.selection import Accept
from blender_core.settings import DEFAULTS, SharedSettings, check_settings
from blender_core.types.answer import Answer
from blender_core.types.outcome import MemberOutcome
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking
from blender_core.types.result import BlendResult

__all__ = [
    "GROUNDED_DEFAULTS",
    "GroundedBlender",
    "GroundedCall",
    "GroundedResult",
    "GroundedSettings",
    "check_fusing_llm",
]


@dataclass(frozen=True, slots=True)
class _Grounding:
    """Holds what is the same for every call.

    Attributes:
        ranker: Ranks the candidates.
        citations: Whether numbers in brackets are citations.
        source_characters: Most characters of sources in the fuser's prompt.
    """

    ranker: GroundedRanker
    citations: bool
    source_characters: int


class GroundedCall:
    """Holds the state of one call; made anew for each call.

    The engine gives rankers and fusers texts only. This object watches the events of the call, so it knows which
    outcome each text belongs to.

    Args:
        settings: What is the same for every call.
        emit: Takes the call's events.
        accept: The caller's check, or ``None``.
    """

    def __init__(self, settings: _Grounding, emit: Callable[[BlendEvent], None], accept: Accept | None) -> None:
        self._settings = settings
        self._emit = emit
        self._accept = accept
        self._answered: dict[int, MemberOutcome] = {}
        self._unusable: set[int] = set()
        self._pick: StreamedCitations | None = None
        self._picked: str | None = None
        self._fusing = False
        self._chosen: tuple[str, ...] = ()
        self._rankings: list[GroundedRanking] = []
        self._citing: CitingFuser | None = None
        self.ranker = _BoundRanker(self, settings.ranker)
        self.fallback_ranker = _BoundRanker(
            self, GroundedRanker("consensus", groundedness=LexicalGroundedness(), name="grounded-consensus")
        )

    # -- events --------------------------------------------------------------------------------------------

    def accept(self, answer: Answer) -> str | None:
        """Apply the caller's check, and remember which answers it did not accept."""
        assert self._accept is not None
        try:
            reason = self._accept(answer)
        except Exception:
            self._unusable.add(id(answer))
            raise
        if reason is not None:
            self._unusable.add(id(answer))
        return reason

    def watch(self, event: BlendEvent) -> None:
        """Pass an event on. Citations to nothing are removed from the tokens of a picked text."""
        if isinstance(event, MemberAnswered):
            self._answered[event.outcome.index] = event.outcome
        elif isinstance(event, Ranked):
            self._picked = event.best_member
        elif isinstance(event, FusionStarted):
            self._fusing, self._chosen = True, event.members
        elif isinstance(event, FusionRejected):
            self._fusing = False
        elif isinstance(event, Token) and not self._fusing and self._settings.citations:
            if self._pick is None:
                self._pick = StreamedCitations(unite_sources([("", self._candidate(self._picked))]).numbers[0])
            event = Token(self._pick.feed(event.text))
            if not event.text:
                return
        self._emit(event)

    def rest_of_pick(self) -> str:
        """Return the end of a picked text that is still held back."""
        return "" if self._pick is None else self._pick.close()

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def selection(self) -> tuple[MemberOutcome, ...]:
        """The outcomes that are ranked, in the ensemble's order."""
        answered = [self._answered[index] for index in sorted(self._answered)]
        accepted = tuple(outcome for outcome in answered if id(outcome.answer) not in self._unusable)
        # if none was accepted all stay, as in the engine
        return accepted or tuple(answered)

    def candidates(self, texts: Sequence[str]) -> list[GroundedCandidate]:
        """Return the candidates whose texts the engine ranks.

        Raises:
            RankerError: The engine ranks other texts, such as answers with tool calls.
        """
        selection = self.selection
        if len(selection) != len(texts):
            raise RankerError(
                f"{len(texts)} texts for {len(selection)} answers; answers with tool calls have no sources"
            )
        return [candidate_of(_answer(outcome)) for outcome in selection]

    def chosen(self) -> list[tuple[str, GroundedCandidate]]:
        """Return name and candidate of the members whose answers are fused, best first."""
        # by name: members may write the same text from different sources
        return [(name, self._candidate(name)) for name in self._chosen]

    def ranked(self, ranking: Ranking | None) -> GroundedRanking | None:
        """Return the grounded ranking of a ranking, or ``None`` if another call made it."""
        return next((grounded for grounded in self._rankings if grounded.ranking is ranking), None)

    def remember(self, grounded: GroundedRanking) -> None:
        """Keep a ranking, so that ``ranked`` finds it."""
        self._rankings.append(grounded)

    def move_behind(self, ranking: Ranking, severities: Sequence[int]) -> Ranking:
        """Move flawed answers behind; only a loop is worse than an answer that its sources do not support."""
        grounded = self.ranked(ranking)
        if grounded is None:
            return move_behind(ranking, severities)
        supported = [2 * severity for severity in severities]
        moved = move_behind(
            ranking, [max(5, one) if index in grounded.unsupported else one for index, one in enumerate(supported)]
        )
        self.remember(replace(grounded, ranking=moved))
        return moved

    def citing(self, fuser: Fuser) -> Fuser:
        """Wrap the fuser, so that citations stay correct."""
        self._citing = CitingFuser(
            fuser,
            self.chosen,
            citations=self._settings.citations,
            source_characters=self._settings.source_characters,
            groundedness=self._settings.ranker.groundedness,
            min_groundedness=self._settings.ranker.min_groundedness,
        )
        return self._citing

    def ending(self, result: BlendResult) -> tuple[str, tuple[LinkedSource, ...], CitationReport]:
        """Return final text, sources and citations."""
        names = result.fused or (result.winner,)
        kept = [(name, self._candidate(name)) for name in names]
        union = unite_sources(kept)
        if not self._settings.citations:
            return result.text, union.sources, CitationReport()
        dropped = {
            name: gone
            for name, candidate in kept
            if (gone := rewrite_citations(candidate.answer, _own_numbers(candidate)).dropped)
        }
        # a fused text uses the union's numbers, a picked text those of its own sources
        numbers = {linked.number: linked.number for linked in union.sources} if result.fused else union.numbers[0]
        final = rewrite_citations(result.text, numbers)
        if result.fused and self._citing is not None and self._citing.dropped:
            dropped["fused text"] = self._citing.dropped
        return final.text, union.sources, CitationReport(final.cited, dropped)

    def _candidate(self, name: str | None) -> GroundedCandidate:
        selection = self.selection
        outcome = next((each for each in selection if each.member == name), selection[0])
        return candidate_of(_answer(outcome))


class _BoundRanker:
    """Adapts the grounded ranker to the engine, for one call."""

    def __init__(self, call: GroundedCall, ranker: GroundedRanker) -> None:
        self._call = call
        self._ranker = ranker
        self.name = ranker.name
        self.computes_locally = getattr(ranker.inner, "computes_locally", True)

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        grounded = self._ranker.rank(prompt, self._call.candidates(candidates))
        self._call.remember(grounded)
        return grounded.ranking


# grounded scores are standardised: those of two answers are always 2 apart, which is no certainty
_LOGIT = 2.0


class _BoundPrior:
    """Adapts the member prior to one call; unsupported answers stay behind all others."""

    def __init__(self, call: GroundedCall, prior: MemberPrior) -> None:
        self._call = call
        self._prior = prior

    def blend(self, members: Sequence[str], ranking: Ranking, texts: Sequence[str]) -> Ranking:
        said = {name: tuple(value / _LOGIT for value in values) for name, values in ranking.evidence.items()}
        scaled = replace(ranking, temperature=_LOGIT, evidence=said)
        blended = self._prior.blend(members, scaled, texts)
        grounded = self._call.ranked(ranking)
        if grounded is None or blended is scaled:
            return ranking
        scores = moved_behind(blended.scores, grounded.unsupported)
        if tuple(scores) != blended.scores:
            blended = blended.rescored(scores)
        self._call.remember(replace(grounded, ranking=blended))
        return blended

    def observe(self, members: Sequence[str], ranking: Ranking) -> None:
        self._prior.observe(members, replace(ranking, temperature=_LOGIT))

    def __getattr__(self, name: str) -> Any:
        # what only some priors can say
        return getattr(self._prior, name)


def _answer(outcome: MemberOutcome) -> Answer:
    assert outcome.answer is not None
    return outcome.answer


def _own_numbers(candidate: GroundedCandidate) -> dict[int, int]:
    return {number: number for number in range(1, len(candidate.sources) + 1)}


@dataclass(frozen=True, slots=True)
class GroundedResult(BlendResult):
    """Holds a blend's result and its sources.

    Attributes:
        sources: The sources of the winner, or the union of those of all fused answers. Citations in ``text`` count
            them from 1.
        citations: Which sources the text cites, and which citations to nothing were dropped.
        groundedness: Member's name -> support of its answer by its own sources, in [0, 1]. Empty if it was not
            measured.
        unsupported: Names of the members whose answers came last because their sources do not support them.
    """

    sources: tuple[LinkedSource, ...] = ()
    citations: CitationReport = field(default_factory=CitationReport)
    groundedness: Mapping[str, float] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()

    @property
    def native(self) -> Any:
        """The response of the engine whose answer was picked; ``None`` if answers were fused."""
        return None if self.answer is None else candidate_of(self.answer).native

    def to_dict(self) -> dict[str, Any]:
        """Convert the result to plain JSON types; a source becomes its number, id, text and users."""
        dropped = self.citations.dropped
        return {
            **BlendResult.to_dict(self),
            "sources": [
                {
                    "number": linked.number,
                    "id": linked.source.id,
                    "text": linked.source.text,
                    "used_by": list(linked.used_by),
                    "cited_by": list(linked.cited_by),
                }
                for linked in self.sources
            ],
            "cited": list(self.citations.cited),
            "dropped_citations": {name: list(numbers) for name, numbers in dropped.items()},
            "groundedness": dict(self.groundedness),
            "unsupported": list(self.unsupported),
        }


class GroundedSettings(SharedSettings, total=False):
    """Settings of a blend that answers from sources; see ``SharedSettings`` for the others.

    Attributes:
        ranker: A ``GroundedRanker``. Any other ranker, or a name (default ``"embedded"``), is wrapped in one with
            default settings.
        citations: Whether numbers in brackets are citations (default ``True``).
        source_characters: Most characters of sources in the prompt of an LLM that fuses (default 2,000). All sources
            get an equal share. 0 shows it the answers alone. Other fusers never see sources.
    """

    ranker: GroundedRanker | Ranker | str | os.PathLike[str]
    citations: bool
    source_characters: int


GROUNDED_DEFAULTS: Mapping[str, Any] = {**DEFAULTS, "citations": True, "source_characters": 2000}
"""Default of each setting of a blend that answers from sources."""


def check_fusing_llm(members: Iterable[Member], settings: Mapping[str, Any]) -> None:
    """Refuse ``fuser="llm"`` if no engine shows an LLM that could fuse.

    Args:
        members: The engines.
        settings: The settings that the caller gave.

    Raises:
        ConfigurationError: Answers may be fused, and no member follows instructions. Pass ``fuser=`` an LLM, or
            ``None`` to pick only.
    """
    listed = list(members)
    whole = {**GROUNDED_DEFAULTS, **settings}
    if whole["fuser"] != "llm" or whole["fuse_when"] == "never" or len(listed) < 2:
        return
    if not any(member.follows_instructions for member in listed):
        names = ", ".join(member.name for member in listed)
        raise ConfigurationError(
            f"no LLM that could fuse can be seen in {names}; pass fuser=an LLM, or fuser=None to pick only"
        )


def with_reserves(settings: Mapping[str, Any], as_engine: Callable[[Any], Any]) -> dict[str, Any]:
    """Convert the reserves as the engines were converted.

    Args:
        settings: The settings that the caller gave.
        as_engine: Makes a member of one engine.

    Returns:
        The settings, with members as ``reserves``.

    Raises:
        ConfigurationError: A setting cannot work; the message says which values can.
    """
    check_settings(settings)
    return {**settings, "reserves": [as_engine(engine) for engine in settings.get("reserves", ())]}


class GroundedBlender(Blender):
    """Blends answers with sources: ranks by the sources too, and renumbers citations.

    Members that are no ``SourcedMember`` are candidates without sources.

    Args:
        members: The engines.
        clock: As in ``Blender``; so are ``sleep`` and ``rng``.
        sleep: See ``clock``.
        rng: See ``clock``.
        **settings: See ``GroundedSettings``. ``fuser="llm"`` asks the LLM of the strongest engine.

    Raises:
        ConfigurationError: A setting cannot work; the message says which values can.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source, SourcedMember
        >>> port = Source("The server listens on port 8080.", id="manual")
        >>> right = SourcedMember("right", lambda prompt: GroundedCandidate("Port 8080 [1].", (port,)))
        >>> wrong = SourcedMember("wrong", lambda prompt: GroundedCandidate("Port 9999 [7].", (port,)))
        >>> result = GroundedBlender([wrong, right], ranker="consensus", fuser=None).blend("Which port is it?")
        >>> result.text, [(linked.source.id, linked.used_by) for linked in result.sources], result.unsupported
        ('Port 8080 [1].', [('manual', ('right',))], ('wrong',))
    """

    @takes_keywords(GroundedSettings, defaults=GROUNDED_DEFAULTS, owner="GroundedBlender")
    def __init__(
        self,
        members: Sequence[Any],
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        rng: random.Random | None = None,
        **settings: Unpack[GroundedSettings],
    ) -> None:
        check_settings(settings)
        whole: dict[str, Any] = {**GROUNDED_DEFAULTS, **settings}
        ranker = whole["ranker"]
        grounded = ranker if isinstance(ranker, GroundedRanker) else GroundedRanker(ranker)
        plain: dict[str, Any] = {name: value for name, value in settings.items() if name in DEFAULTS}
        super().__init__(members, clock=clock, sleep=sleep, rng=rng, **{**plain, "ranker": "consensus"})
        check_members(grounded.inner, [name for name, _ in self.members])
        self._member_prior: MemberPrior | None = whole["member_prior"]
        self._grounding = _Grounding(grounded, whole["citations"], whole["source_characters"])

    def _load_ranker(self) -> Ranker:
        return self._grounding.ranker.load()

    def blend(self, prompt: Any, *, accept: Accept | None = None) -> GroundedResult:
        """Answer a question, blocking; see ``Blender.blend``."""
        result = super().blend(prompt, accept=accept)
        assert isinstance(result, GroundedResult)
        return result

    async def ablend(self, prompt: Any, *, accept: Accept | None = None) -> GroundedResult:
        """Answer a question; see ``Blender.ablend``."""
        result = await super().ablend(prompt, accept=accept)
        assert isinstance(result, GroundedResult)
        return result

    async def _call(
        self, prompt: Prompt, accept: Accept | None, runtime: CallRuntime, streaming: bool
    ) -> GroundedResult:
        call = GroundedCall(self._grounding, runtime.emit, accept)
        plan = replace(
            self._plan,
            ranker=lambda: call.ranker,
            ready_ranker=lambda: call.ranker,
            fallback_ranker=call.fallback_ranker,
            fuser=None if self._plan.fuser is None else call.citing(self._plan.fuser),
            member_prior=None if self._member_prior is None else _BoundPrior(call, self._member_prior),
            move_behind=call.move_behind,
        )
        watched = replace(runtime, emit=call.watch)
        check = None if accept is None else call.accept
        result = await BlendCall(plan, prompt, watched, accept=check, streaming=streaming).run()
        rest = call.rest_of_pick()
        if rest:
            runtime.emit(Token(rest))
        known = {each.name: getattr(result, each.name) for each in fields(BlendResult)}
        text, sources, report = call.ending(result)
        ranked = call.ranked(result.ranking)
        names = [outcome.member for outcome in call.selection]
        return GroundedResult(
            **{**known, "text": text},
            sources=sources,
            citations=report,
            groundedness={} if ranked is None else dict(zip(names, ranked.groundedness, strict=False)),
            unsupported=() if ranked is None else tuple(names[index] for index in ranked.unsupported),
        )

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self._plan.members)
        fuser = None if self._plan.fuser is None else self._plan.fuser.name
        return f"GroundedBlender([{names}], ranker={self._grounding.ranker.name!r}, fuser={fuser!r})"

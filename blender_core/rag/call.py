"""One call of the grounded blend: who answered with which sources, and what became of the citations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blender_core.errors import RankerError
from blender_core.events import BlendEvent, FusionRejected, FusionStarted, MemberAnswered, Ranked, Token
from blender_core.fuse.protocol import Fuser
from blender_core.rag.citations import CitationReport, StreamedCitations, rewrite_citations
from blender_core.rag.citing_fuser import CitingFuser
from blender_core.rag.grounded_ranker import GroundedRanker, GroundedRanking
from blender_core.rag.groundedness import LexicalGroundedness
from blender_core.rag.member import candidate_of
from blender_core.rag.sources import GroundedCandidate, LinkedSource, unite_sources
from blender_core.selection import Accept
from blender_core.types.answer import Answer
from blender_core.types.outcome import MemberOutcome
from blender_core.types.ranking import Ranking
from blender_core.types.result import BlendResult

__all__ = ["GroundedCall", "GroundedSettings"]


@dataclass(frozen=True, slots=True)
class GroundedSettings:
    """What stays the same from call to call.

    Attributes:
        ranker: Ranks the candidates.
        citations: Whether bracketed numbers are citations.
        source_characters: Most characters of sources in the fuser's prompt.
    """

    ranker: GroundedRanker
    citations: bool
    source_characters: int


class GroundedCall:
    """The state of one call; made for it and thrown away with it.

    The engine hands rankers and fusers texts only. This object hears the events of the call, so it knows the outcome
    behind each text.

    Args:
        settings: What stays the same from call to call.
        emit: Takes the call's events.
        accept: The caller's judgement, or ``None``.
    """

    def __init__(self, settings: GroundedSettings, emit: Callable[[BlendEvent], None], accept: Accept | None) -> None:
        self._settings = settings
        self._emit = emit
        self._accept = accept
        self._answered: dict[int, MemberOutcome] = {}
        self._refused: set[int] = set()
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

    # -- what the call hears -------------------------------------------------------------------------------

    def accept(self, answer: Answer) -> str | None:
        """The caller's judgement, remembered."""
        assert self._accept is not None
        try:
            reason = self._accept(answer)
        except Exception:
            self._refused.add(id(answer))
            raise
        if reason is not None:
            self._refused.add(id(answer))
        return reason

    def watch(self, event: BlendEvent) -> None:
        """Hear an event, and pass it on; a picked text's tokens with the dangling citations taken out."""
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
        """What is still held back of a picked text."""
        return "" if self._pick is None else self._pick.close()

    # -- what is known -------------------------------------------------------------------------------------

    @property
    def standing(self) -> tuple[MemberOutcome, ...]:
        """The outcomes that are ranked, in the ensemble's order."""
        answered = [self._answered[index] for index in sorted(self._answered)]
        accepted = tuple(outcome for outcome in answered if id(outcome.answer) not in self._refused)
        # where none was accepted all stay, as in the engine
        return accepted or tuple(answered)

    def candidates(self, texts: Sequence[str]) -> list[GroundedCandidate]:
        """The candidates behind the texts that the engine ranks."""
        standing = self.standing
        if len(standing) != len(texts):
            raise RankerError(
                f"{len(texts)} texts for {len(standing)} answers; answers with tool calls have no sources"
            )
        return [candidate_of(_answer(outcome)) for outcome in standing]

    def chosen(self) -> list[tuple[str, GroundedCandidate]]:
        """Name and candidate of the members whose answers are fused, best first."""
        # by name: members may have written the same text from other sources
        return [(name, self._candidate(name)) for name in self._chosen]

    def ranked(self, ranking: Ranking | None) -> GroundedRanking | None:
        """What stands behind a ranking that this call's rankers made; a late one may have made another."""
        return next((grounded for grounded in self._rankings if grounded.ranking is ranking), None)

    def remember(self, grounded: GroundedRanking) -> None:
        """Keep what one of the rankers found."""
        self._rankings.append(grounded)

    def citing(self, fuser: Fuser) -> Fuser:
        """The fuser, with citations kept right."""
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
        """Final text, sources and citations."""
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
        # a fused text is already in the union's numbers; a picked one counts its own sources
        numbers = {linked.number: linked.number for linked in union.sources} if result.fused else union.numbers[0]
        final = rewrite_citations(result.text, numbers)
        if result.fused and self._citing is not None and self._citing.dropped:
            dropped["fused text"] = self._citing.dropped
        return final.text, union.sources, CitationReport(final.cited, dropped)

    def _candidate(self, name: str | None) -> GroundedCandidate:
        standing = self.standing
        outcome = next((each for each in standing if each.member == name), standing[0])
        return candidate_of(_answer(outcome))


class _BoundRanker:
    """The grounded ranker as the engine sees it: for one call, of texts only."""

    def __init__(self, call: GroundedCall, ranker: GroundedRanker) -> None:
        self._call = call
        self._ranker = ranker
        self.name = ranker.name

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        grounded = self._ranker.rank(prompt, self._call.candidates(candidates))
        self._call.remember(grounded)
        return grounded.ranking


def _answer(outcome: MemberOutcome) -> Answer:
    assert outcome.answer is not None
    return outcome.answer


def _own_numbers(candidate: GroundedCandidate) -> dict[int, int]:
    return {number: number for number in range(1, len(candidate.sources) + 1)}

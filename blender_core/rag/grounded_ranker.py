"""Rank answers by a ranker that reads the sources, and by their groundedness."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from blender_core.rag.groundedness import EvidenceGroundedness, Groundedness, is_abstention, sentences, support_of
from blender_core.rag.sources import GroundedCandidate, Source
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import check_ranker, resolve_ranker
from blender_core.runtime.numbers import check_number
from blender_core.types.ranking import Ranking
from blender_core.types.returned import checked_ranking

__all__ = [
    "GroundedRanker",
    "GroundedRanking",
    "moved_behind",
    "relevant_passages",
]

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")


def relevant_passages(question: str, sources: Sequence[Sequence[Source]], *, max_characters: int) -> str:
    """Select the sentences of all sources that share most words with the question.

    A shared word counts more if few sentences contain it.

    Args:
        question: The question.
        sources: The sources of each candidate.
        max_characters: Most characters to return.

    Returns:
        The sentences in their original order, one on each line; empty if none fits.

    Examples:
        >>> sources = [[Source("It listens on port 8080. It is written in C.")], [Source("It is written in C.")]]
        >>> relevant_passages("Which port does it listen on?", sources, max_characters=30)
        'It listens on port 8080.'
    """
    parts = list(dict.fromkeys(part for group in sources for source in group for part in sentences(source.text)))
    words = [set(_WORD.findall(part.lower())) for part in parts]
    seen = Counter(word for bag in words for word in bag)
    asked = set(_WORD.findall(question.lower()))
    worth = [math.fsum(math.log1p(len(parts) / seen[word]) for word in sorted(bag & asked)) for bag in words]
    kept: list[int] = []
    room = max_characters
    for index in sorted(range(len(parts)), key=lambda index: (-worth[index], index)):
        if len(parts[index]) + bool(kept) <= room:
            room -= len(parts[index]) + bool(kept)
            kept.append(index)
    return "\n".join(parts[index] for index in sorted(kept))


@dataclass(frozen=True, slots=True)
class GroundedRanking:
    """Holds a ranking of grounded candidates.

    Attributes:
        ranking: The ranking.
        groundedness: Support of each candidate by its own sources, by candidate index, in [0, 1]. Empty if it was not
            measured.
        unsupported: Indices of candidates that rank behind all others: their own sources do not support them, or
            they say that they have no answer.
    """

    ranking: Ranking
    groundedness: tuple[float, ...]
    unsupported: tuple[int, ...]


class GroundedRanker:
    """Ranks answers by a ranker that reads the sources, plus groundedness.

    The ranker reads the question together with the sentences of all candidates' sources that fit it best. Its scores
    are standardised over the candidates (mean 0, standard deviation 1). ``groundedness_weight`` times the groundedness
    is added. Candidates below ``min_groundedness``, and those that say they have no answer, then move behind all
    others. Their own order stays.

    The defaults were chosen on the development half of the questions in ``benchmarks/rag``.

    Args:
        ranker: A ranker or its name, as in ``Blender``.
        groundedness: The measure; ``None`` switches groundedness off.
        groundedness_weight: What full support adds, in standard deviations of the ranker's scores.
        min_groundedness: A candidate below it is unsupported, in [0, 1].
        context_characters: Most characters of sources in the ranker's prompt; 0 shows the question alone.
        name: Shown in results.

    Raises:
        ConfigurationError: A value cannot work; the message says which values can.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> sources = (Source("The port is 8080."),)
        >>> grounded = GroundedRanker("longest").rank("Which port?", [
        ...     GroundedCandidate("The port is certainly 9999.", sources), GroundedCandidate("It is 8080.", sources)])
        >>> grounded.ranking.order, grounded.groundedness, grounded.unsupported
        ((1, 0), (0.0, 1.0), (0,))
    """

    def __init__(
        self,
        ranker: Ranker | str | os.PathLike[str] = "embedded",
        *,
        groundedness: Groundedness | None = EvidenceGroundedness(),
        groundedness_weight: float = 16.0,
        min_groundedness: float = 0.2,
        context_characters: int = 600,
        name: str | None = None,
    ) -> None:
        check_ranker(ranker)
        check_number("groundedness_weight", groundedness_weight)
        check_number("min_groundedness", min_groundedness, least=0, most=1)
        check_number("context_characters", context_characters, least=0, whole=True)
        self._ranker = ranker
        self.groundedness = groundedness
        self._groundedness_weight = groundedness_weight
        self.min_groundedness = min_groundedness
        self._context_characters = context_characters
        self.name = name or f"grounded-{getattr(ranker, 'name', ranker)}"

    @property
    def inner(self) -> Ranker | str | os.PathLike[str]:
        """The ranker inside, or its name."""
        return self._ranker

    def load(self) -> Ranker:
        """Return the ranker inside; load it if it is given by its name."""
        return resolve_ranker(self._ranker)

    def rank(self, question: str, candidates: Sequence[GroundedCandidate]) -> GroundedRanking:
        """Rank the candidates.

        Args:
            question: The question.
            candidates: At least one. Blank answers come last.

        Returns:
            The ranking, with indices as in ``candidates``. Higher scores are better. The confidence is the sigmoid of
            the difference of the two best scores.

        Raises:
            RankerError: The ranker or the measure failed.
        """
        texts = [candidate.answer for candidate in candidates]
        ranker = resolve_ranker(self._ranker)
        inner = checked_ranking(ranker.rank(self._prompt(question, candidates), texts), len(texts))
        scores = _standardised(inner.scores)
        said = {inner.ranker: [score if math.isfinite(score) else math.nan for score in scores]}
        grounded: list[float] = []
        unsupported: tuple[int, ...] = ()
        if self.groundedness is not None:
            grounded = support_of(self.groundedness, question, candidates)
            support = [self._groundedness_weight * share for share in grounded]
            scores = [score + more for score, more in zip(scores, support, strict=True)]
            said["groundedness"] = support
            unsupported = tuple(
                index
                for index, share in enumerate(grounded)
                if scores[index] > -math.inf and (share < self.min_groundedness or is_abstention(texts[index]))
            )
            scores = moved_behind(scores, unsupported)
        ranking = Ranking.from_scores(
            [round(score, 9) for score in scores],
            ranker=self.name,
            cut=inner.cut,
            evidence=said,
            reasons=inner.reasons,
            problems=inner.problems,
        )
        return GroundedRanking(ranking, tuple(grounded), unsupported)

    def _prompt(self, question: str, candidates: Sequence[GroundedCandidate]) -> str:
        passages = relevant_passages(
            question, [candidate.sources for candidate in candidates], max_characters=self._context_characters
        )
        return f"{passages}\n\n{question}" if passages else question

    def __repr__(self) -> str:
        return f"GroundedRanker({self.name!r})"


def _standardised(scores: Sequence[float]) -> list[float]:
    finite = [score for score in scores if math.isfinite(score)]
    mean = math.fsum(finite) / len(finite) if finite else 0.0
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in finite) / len(finite)) if finite else 0.0
    # a deviation this small comes from rounding
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return [0.0 if math.isfinite(score) else -math.inf for score in scores]
    return [(score - mean) / deviation if math.isfinite(score) else -math.inf for score in scores]


def moved_behind(scores: Sequence[float], behind: Sequence[int]) -> list[float]:
    """Move some candidates below all others, with the same differences among them.

    Args:
        scores: One score for each candidate; higher is better.
        behind: Indices of the candidates to move.

    Returns:
        The new scores.
    """
    others = [score for index, score in enumerate(scores) if index not in behind and score > -math.inf]
    if not behind or not others:
        return list(scores)
    shift = max(scores[index] for index in behind) - min(others) + 1.0
    return [score - shift if index in behind and shift > 0 else score for index, score in enumerate(scores)]

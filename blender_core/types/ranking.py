"""Define the result of ranking: order, scores and confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blender_core.errors import RankerError

__all__ = [
    "Ranking",
    "direct_confidence",
    "find_cycles",
]


def find_cycles(comparisons: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], ...]:
    """Find groups of candidates that beat each other in a circle.

    A cross-encoder may say that a beats b, b beats c and c beats a. In the graph of wins, such
    candidates are a strongly connected component (Tarjan 1972). Outside these groups the comparisons agree with
    one order.

    Args:
        comparisons: ``comparisons[i][j]`` is the logit that i is better than j, shape [n, n]. Zero and ``nan``
            mean that neither beats the other.

    Returns:
        Every group of two or more, indices ascending, groups by their first index. Empty if the comparisons
        are consistent.

    Examples:
        >>> find_cycles([[0, 1, -1, 2], [-1, 0, 1, 2], [1, -1, 0, 2], [-2, -2, -2, 0]])
        ((0, 1, 2),)
        >>> find_cycles([[0, 1], [-1, 0]])
        ()
    """
    size = len(comparisons)
    reach = [[comparisons[i][j] > 0 for j in range(size)] for i in range(size)]
    for middle in range(size):
        for i in range(size):
            if reach[i][middle]:
                reach[i] = [already or further for already, further in zip(reach[i], reach[middle], strict=True)]
    groups = {
        tuple(j for j in range(size) if j == i or (reach[i][j] and reach[j][i])) for i in range(size) if reach[i][i]
    }
    return tuple(sorted(group for group in groups if len(group) > 1))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Orders the candidates of one prompt.

    Attributes:
        order: Candidate indices, best first; every index once.
        scores: One score for each candidate, by candidate index; higher is better. The scale is the ranker's
            own and compares candidates of one prompt only. ``-inf`` marks a blank candidate.
        ranker: Name of the ranker.
        confidence: Probability in [0.5, 1] that the first of ``order`` is better than the second. It is 1.0 if
            no other candidate competes, 0.5 for a tie or if the ranker cannot say.
        comparisons: ``comparisons[i][j]`` is the logit that candidate i is better than j, ``nan`` if the
            two were not compared. ``None`` for a ranker that does not compare pairs. Rows that belong to
            duplicates repeat the row of the first copy.
        ties: Groups of candidate indices that share a score, for example duplicates.
        cut: Candidate index -> number of tokens that did not fit the ranker's window (-1 is the prompt).
        temperature: Divides a margin in scores before the sigmoid that makes it a probability. Infinite if the scores
            say nothing about probabilities.
        evidence: Who or what speaks for a candidate -> log-odds by candidate index, as they were weighed. ``nan`` if it
            did not judge that one. Empty if the ranker does not say.
        reasons: What judges gave as their reasons. ``[2]`` is the second candidate.
        problems: What went wrong in parts, such as a judge that did not answer; empty if nothing did.

    Examples:
        >>> ranking = Ranking.from_scores([0.2, 1.5, 0.2], ranker="example")
        >>> ranking.order, ranking.ranks, ranking.ties
        ((1, 0, 2), (2, 1, 2), ((0, 2),))
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    ranker: str
    confidence: float = 0.5
    comparisons: tuple[tuple[float, ...], ...] | None = None
    ties: tuple[tuple[int, ...], ...] = ()
    cut: Mapping[int, int] = field(default_factory=dict)
    temperature: float = 1.0
    evidence: Mapping[str, tuple[float, ...]] = field(default_factory=dict, repr=False, compare=False)
    reasons: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.scores))):
            raise RankerError(
                f"order {self.order} is not a permutation of the {len(self.scores)} candidates; "
                "a Ranking needs every index exactly once"
            )

    @classmethod
    def from_scores(
        cls,
        scores: Sequence[float],
        *,
        ranker: str,
        comparisons: Sequence[Sequence[float]] | None = None,
        confidence: float | None = None,
        temperature: float = 1.0,
        cut: Mapping[int, int] | None = None,
        evidence: Mapping[str, Sequence[float]] | None = None,
        reasons: Sequence[str] = (),
        problems: Sequence[str] = (),
    ) -> Ranking:
        """Order candidates by score; equal scores keep their input order and are reported as ties.

        Args:
            scores: One number for each candidate, higher is better.
            ranker: Name of the ranker.
            comparisons: Matrix of logits, if pairs were compared.
            confidence: Probability that the first is better than the second. Default
                ``sigmoid((s_1 - s_2) / temperature)``.
            temperature: Divides the margin before the sigmoid; fitted on data if the ranker has one, infinite if its
                scores say nothing about probabilities.
            cut: Tokens cut by candidate index.
            evidence: Log-odds by source and candidate index.
            reasons: Reasons of judges.
            problems: What went wrong in parts.

        Returns:
            The ranking.
        """
        values = tuple(float(score) for score in scores)
        # nan cannot be ordered: it counts as the worst
        keys = [-math.inf if math.isnan(value) else value for value in values]
        order = tuple(sorted(range(len(values)), key=lambda index: (-keys[index], index)))
        groups: dict[float, list[int]] = {}
        for index in order:
            groups.setdefault(keys[index], []).append(index)
        ties = tuple(tuple(group) for group in groups.values() if len(group) > 1)
        if confidence is None:
            confidence = _confidence([keys[index] for index in order], temperature)
        return cls(
            order=order,
            scores=tuple(keys),
            ranker=ranker,
            confidence=confidence,
            comparisons=None if comparisons is None else tuple(tuple(map(float, row)) for row in comparisons),
            ties=ties,
            cut=dict(cut or {}),
            temperature=temperature,
            evidence={name: tuple(map(float, values)) for name, values in (evidence or {}).items()},
            reasons=tuple(reasons),
            problems=tuple(problems),
        )

    def rescored(
        self,
        scores: Sequence[float],
        *,
        comparisons: Sequence[Sequence[float]] | None = None,
        temperature: float | None = None,
        confidence: float | None = None,
        evidence: Mapping[str, Sequence[float]] | None = None,
    ) -> Ranking:
        """Return a ranking by other scores that keeps the rest, such as ranker, cut and reasons.

        Args:
            scores: One number for each candidate.
            comparisons: Matrix of logits that fits the scores.
            temperature: As in ``from_scores``; default is that of this ranking.
            confidence: As in ``from_scores``.
            evidence: As in ``from_scores``; default is that of this ranking.

        Returns:
            The new ranking.

        Examples:
            >>> Ranking.from_scores([1.0, 2.0], ranker="example").rescored([3.0, 2.0]).order
            (0, 1)
        """
        return Ranking.from_scores(
            scores,
            ranker=self.ranker,
            comparisons=comparisons,
            confidence=confidence,
            temperature=self.temperature if temperature is None else temperature,
            cut=self.cut,
            evidence=self.evidence if evidence is None else evidence,
            reasons=self.reasons,
            problems=self.problems,
        )

    def preference(self, index: int, other: int) -> float:
        """Turn a comparison into a probability.

        Args:
            index: A candidate.
            other: Another candidate.

        Returns:
            The probability that the first is better, ``sigmoid(comparisons[index][other] / temperature)``; ``nan`` if
            the two were not compared.

        Examples:
            >>> ranking = Ranking.from_scores([1, -1], ranker="x", comparisons=[[0, 2], [-2, 0]], temperature=2)
            >>> round(ranking.preference(0, 1), 4)
            0.7311
        """
        logit = math.nan if self.comparisons is None else self.comparisons[index][other] / self.logit_scale
        return math.nan if math.isnan(logit) else 1.0 / (1.0 + math.exp(-min(max(logit, -700.0), 700.0)))

    @property
    def best(self) -> int:
        """Index of the best candidate."""
        return self.order[0]

    @property
    def logit_scale(self) -> float:
        """Points of score that make one logit.

        The temperature; for scores without a scale the best is one logit above the worst.
        """
        if self.temperature != math.inf:
            return self.temperature
        known = [score for score in self.scores if math.isfinite(score)]
        return (max(known) - min(known) if known else 0.0) or 1.0

    @property
    def cycles(self) -> tuple[tuple[int, ...], ...]:
        """Groups of candidates that beat each other in a circle; empty without circles.

        Candidates of such a group are ordered by the aggregation, but no order agrees with every comparison.
        """
        return () if self.comparisons is None else find_cycles(self.comparisons)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of each candidate by index; 1 is best, equal scores share the lower number."""
        ranks = [0] * len(self.order)
        for position, index in enumerate(self.order):
            previous = self.order[position - 1] if position else None
            tied = previous is not None and self.scores[previous] == self.scores[index]
            ranks[index] = ranks[previous] if tied and previous is not None else position + 1
        return tuple(ranks)

    def to_dict(self) -> dict[str, Any]:
        """Turn the ranking into plain JSON types; ``-inf`` and ``nan`` become ``None``."""
        return {
            "ranker": self.ranker,
            "order": list(self.order),
            "ranks": list(self.ranks),
            "scores": [_finite(score) for score in self.scores],
            "confidence": self.confidence,
            "comparisons": None
            if self.comparisons is None
            else [[_finite(value) for value in row] for row in self.comparisons],
            "ties": [list(group) for group in self.ties],
            "cycles": [list(group) for group in self.cycles],
            "cut": {str(index): tokens for index, tokens in self.cut.items()},
            "evidence": {name: [_finite(value) for value in values] for name, values in self.evidence.items()},
            "reasons": list(self.reasons),
            "problems": list(self.problems),
        }

    def _repr_html_(self) -> str:
        from blender_core.view.result import ranking_html

        return ranking_html(self)


def direct_confidence(ranking: Ranking, temperature: float = 1.0) -> float:
    """Compute the confidence from the direct comparison of the first two.

    Args:
        ranking: With ``comparisons``; if the first two were not compared, their scores are used.
        temperature: Divides the logit before the sigmoid.

    Returns:
        ``sigmoid(comparisons[first][second] / temperature)``; 0.5 for a tie and if the first loses the direct
        comparison; 1.0 if only blanks compete.

    Examples:
        >>> ranking = Ranking.from_scores([0.0, 2.0], ranker="example", comparisons=[[0.0, -1.0], [1.0, 0.0]])
        >>> round(direct_confidence(ranking), 4)
        0.7311
    """
    if len(ranking.order) < 2 or ranking.scores[ranking.order[1]] == -math.inf:
        return 1.0
    first, second = ranking.order[:2]
    if ranking.scores[first] == ranking.scores[second]:
        return 0.5
    logit = math.nan if ranking.comparisons is None else ranking.comparisons[first][second]
    if math.isnan(logit):
        logit = ranking.scores[first] - ranking.scores[second]
    return 1.0 / (1.0 + math.exp(-max(0.0, logit) / temperature))


def _confidence(ordered: Sequence[float], temperature: float) -> float:
    if len(ordered) < 2 or ordered[1] == -math.inf != ordered[0]:
        return 1.0
    margin = 0.0 if ordered[0] == ordered[1] else (ordered[0] - ordered[1]) / temperature
    return 1.0 / (1.0 + math.exp(-min(margin, 700.0)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

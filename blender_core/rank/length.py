"""The length baseline: the longest answer wins. A ranker that does not beat it has learned nothing."""

from __future__ import annotations

from collections.abc import Sequence

from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

__all__ = ["LongestRanker"]


class LongestRanker:
    """Scores a candidate by its length in characters.

    Examples:
        >>> LongestRanker().rank("Hi", ["Hello", "Hello there"]).best
        1
    """

    name = "longest"

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by length; see ``Ranker.rank``. Length says nothing of quality, so the confidence is 0.5."""
        distinct = distinct_candidates(candidates)
        scores = distinct.spread_scores([len(text.strip()) for text in distinct.texts])
        return Ranking.from_scores(scores, ranker=self.name, confidence=0.5)

"""Agreement in words: the candidate that shares most with all others (minimum Bayes risk under word overlap).

It needs no model and takes about a millisecond, so the engine falls back on it when a ranker fails or is late.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from blender_core.rank.distinct import distinct_candidates
from blender_core.rank.ranking import Ranking

__all__ = ["LexicalConsensusRanker"]

_WORD = re.compile(r"\w+")


class LexicalConsensusRanker:
    """Scores a candidate by its mean word overlap (F1 on bags of words) with the other members' answers.

    An answer that several members gave counts once for each of them.

    Example:
        >>> LexicalConsensusRanker().rank("Capital?", ["Rome", "It is Paris", "Paris"]).ranks
        (3, 1, 1)
    """

    name = "consensus"

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by agreement; see ``Ranker.rank``."""
        distinct = distinct_candidates(candidates)
        bags = [Counter(_WORD.findall(text.lower())) for text in distinct.texts]
        copies = Counter(position for position in distinct.positions if position is not None)
        scores = []
        for i, bag in enumerate(bags):
            # a duplicate agrees with its copies fully
            total = float(copies[i] - 1) + sum(copies[j] * _overlap(bag, bags[j]) for j in copies if j != i)
            scores.append(total / max(1, sum(copies.values()) - 1))
        return Ranking.from_scores(distinct.spread_scores(scores), ranker=self.name, confidence=None)


def _overlap(first: Counter[str], second: Counter[str]) -> float:
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0

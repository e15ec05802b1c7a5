"""Rank by length or at random, as baselines."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from blender_core.text.distinct import distinct_candidates
from blender_core.text.unicode import normalize
from blender_core.types.ranking import Ranking

__all__ = [
    "LongestRanker",
    "RandomRanker",
]


class LongestRanker:
    """Scores a candidate by its length in characters; longer is better.

    Examples:
        >>> LongestRanker().rank("Hi", ["Hello", "Hello there"]).best
        1
    """

    name = "longest"

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by length; see ``Ranker.rank``. The confidence is always 0.5."""
        distinct = distinct_candidates(candidates)
        scores = distinct.spread_scores([len(text.strip()) for text in distinct.texts])
        return Ranking.from_scores(scores, ranker=self.name, confidence=0.5, temperature=math.inf)


class RandomRanker:
    """Draws each candidate's score from the seed, the prompt and the candidate's own text.

    The same seed, prompt and text give the same score in every process. So the order of the candidates does not
    matter, and duplicates tie. Over prompts or seeds every order is equally likely.

    Args:
        seed: Seed of the scores; another seed gives another order.

    Examples:
        >>> ranker = RandomRanker(seed=7)
        >>> first = ranker.rank("Hi", ["a", "b", "c"])
        >>> again = ranker.rank("Hi", ["c", "a", "b"])
        >>> first.scores == (again.scores[1], again.scores[2], again.scores[0])
        True
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank at random; see ``Ranker.rank``. Scores are in [0, 1), the confidence is 0.5."""
        distinct = distinct_candidates(candidates)
        scores = distinct.spread_scores([self._draw(prompt, text) for text in distinct.texts])
        return Ranking.from_scores(scores, ranker=self.name, confidence=0.5, temperature=math.inf)

    def _draw(self, prompt: str, text: str) -> float:
        digest = hashlib.sha256()
        for part in (str(self._seed), prompt, " ".join(normalize("NFC", text).split())):
            data = part.encode("utf-8", "surrogatepass")
            # the length keeps ("ab", "c") and ("a", "bc") apart
            digest.update(len(data).to_bytes(8, "big") + data)
        return int.from_bytes(digest.digest()[:6], "big") / 2**48

    def __repr__(self) -> str:
        return f"RandomRanker(seed={self._seed})"

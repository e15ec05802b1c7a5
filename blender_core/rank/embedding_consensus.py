"""Agreement in meaning: the candidate nearest to all others.

Minimum Bayes risk decoding (Kumar and Byrne 2004; Eikema and Aziz 2020) with the cosine similarity of embeddings as
the utility and the candidates themselves as the sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from blender_core.models.text_encoder import Encode, unit_vectors
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

__all__ = ["EmbeddingConsensusRanker"]


class EmbeddingConsensusRanker:
    """Scores a candidate by its mean cosine similarity to all other candidates, copies of it included.

    An answer that several members gave counts once for each of them. Two different candidates always tie.

    Args:
        encode: Takes texts, returns an array ``[n, size]``: a ``TextEncoder``, ``SentenceTransformer.encode``, or
            a function of your own. It must be safe to call from several threads.
        name: Shown in results.

    Examples:
        >>> def letters(texts):
        ...     return [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        >>> EmbeddingConsensusRanker(letters).rank("?", ["it is rome", "paris", "it is paris"]).best
        2
    """

    def __init__(self, encode: Encode, *, name: str = "embedding-consensus") -> None:
        self._encode = encode
        self.name = name

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by agreement; see ``Ranker.rank``. Scores are in [-1, 1]; one candidate alone scores 0.

        The similarities say nothing about probabilities, so the confidence is 0.5 unless nothing competes.
        """
        import numpy as np

        distinct = distinct_candidates(candidates)
        if len(distinct.texts) < 2:
            return Ranking.from_scores(distinct.spread_scores([0.0] * len(distinct.texts)), ranker=self.name)
        vectors = unit_vectors(self._encode, distinct.texts)
        copies = Counter(position for position in distinct.positions if position is not None)
        weights = np.array([copies[index] for index in range(len(distinct.texts))], dtype=np.float64)
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, 1.0)
        # a candidate is similar to its copies, but not its own witness
        mean = (similarity @ weights - 1.0) / (weights.sum() - 1.0)
        # rounded, so that equal agreement is a tie whatever the order of summing
        scores = [round(float(score), 9) for score in mean]
        return Ranking.from_scores(distinct.spread_scores(scores), ranker=self.name, confidence=0.5)

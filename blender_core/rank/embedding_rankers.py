"""Rank by embeddings: similarity to the prompt, or agreement among the candidates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from blender_core.models.text_encoder import TextEncoder, unit_vectors
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

__all__ = [
    "BiEncoderRanker",
    "EmbeddingConsensusRanker",
]


class BiEncoderRanker:
    """Scores a candidate by the cosine similarity of its embedding with the prompt's.

    Similar is not correct: an encoder that was not trained on answers prefers those that repeat the prompt.

    Args:
        encoder: Any encoder that `TextEncoder` takes: a hub name, a ``SentenceTransformer``, an embedding model of
            LangChain or LlamaIndex, a function. Default: the one in the package. The prompt is encoded as a query,
            the candidates as documents, so that an encoder uses its own instructions.
        name: Shown in results.

    Examples:
        >>> def letters(texts):
        ...     return [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        >>> BiEncoderRanker(letters).rank("capital of france", ["xyz", "france: capital paris"]).best
        1
    """

    def __init__(self, encoder: Any = None, *, name: str = "bi-encoder") -> None:
        self._encoder = TextEncoder(encoder)
        self.name = name

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by similarity to the prompt; see ``Ranker.rank``. Scores are in [-1, 1].

        The similarities say nothing about probabilities, so the confidence is 0.5 if several candidates compete.
        """
        distinct = distinct_candidates(candidates)
        if not distinct.texts:
            return Ranking.from_scores(distinct.spread_scores([]), ranker=self.name)
        source = unit_vectors(self._encoder.queries([prompt]))[0]
        answers = unit_vectors(self._encoder.documents(distinct.texts))
        # rounded, so that scores that differ only by the order of summing tie
        scores = [round(float(score), 9) for score in answers @ source]
        return Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self.name,
            confidence=0.5 if len(scores) > 1 else None,
            temperature=math.inf,
        )


class EmbeddingConsensusRanker:
    """Scores a candidate by its mean cosine similarity to all others, copies included.

    An answer that several members gave counts once for each of them. Two different candidates always tie.

    Args:
        encoder: Any encoder that `TextEncoder` takes. Default: the one in the package.
        name: Shown in results.

    Examples:
        >>> def letters(texts):
        ...     return [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        >>> EmbeddingConsensusRanker(letters).rank("?", ["it is rome", "paris", "it is paris"]).best
        2
    """

    def __init__(self, encoder: Any = None, *, name: str = "embedding-consensus") -> None:
        self._encoder = TextEncoder(encoder)
        self.name = name

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by agreement; see ``Ranker.rank``. Scores are in [-1, 1]; a lone candidate scores 0.

        The similarities say nothing about probabilities, so the confidence is 0.5 if several candidates compete.
        """
        import numpy as np

        distinct = distinct_candidates(candidates)
        if len(distinct.texts) < 2:
            return Ranking.from_scores(distinct.spread_scores([0.0] * len(distinct.texts)), ranker=self.name)
        vectors = unit_vectors(self._encoder(distinct.texts))
        copies = Counter(position for position in distinct.positions if position is not None)
        weights = np.array([copies[index] for index in range(len(distinct.texts))], dtype=np.float64)
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, 1.0)
        # copies count, the candidate itself does not
        mean = (similarity @ weights - 1.0) / (weights.sum() - 1.0)
        # rounded, so that equal agreement is a tie whatever the order of summing
        scores = [round(float(score), 9) for score in mean]
        return Ranking.from_scores(
            distinct.spread_scores(scores), ranker=self.name, confidence=0.5, temperature=math.inf
        )

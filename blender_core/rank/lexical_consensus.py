"""Rank by agreement among the candidates: word overlap and equal final answers.

The candidate that agrees most with all others wins (minimum Bayes risk under word overlap; majority vote on
final answers, as in self-consistency decoding). It needs no model, so it is the fallback if a ranker fails or times
out. The embedded ranker adds it to the cross-encoder's score.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blender_core.text.distinct import DistinctCandidates, distinct_candidates
from blender_core.text.final_answer import final_answer, merge_units, short_answer
from blender_core.types.ranking import Ranking

__all__ = ["Agreement", "LexicalConsensusRanker", "measure_agreement"]

# more of a text tells nothing new, and the fallback must be quick on a huge one
_READ = 50_000
# single characters of scripts that put no spaces between words
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of each distinct candidate with all others.

    Attributes:
        overlap: Mean F1 on bags of words with each other answer, in [0, 1].
        final: Share of the other answers that state the same final answer, in [0, 1]; 0 if none is stated. If at
            least half of the candidates have one, a bare "48" counts as stated.
    """

    overlap: tuple[float, ...]
    final: tuple[float, ...]


def measure_agreement(distinct: DistinctCandidates) -> Agreement:
    """Measure agreement; an answer counts once for each member that gave it.

    The words of the first 50,000 characters of each are compared.

    Args:
        distinct: The candidates of one prompt.

    Returns:
        Numbers for each distinct candidate; higher is more agreement.

    Examples:
        >>> measure_agreement(distinct_candidates(["Answer: 4", "So the answer is 4.", "Answer: 5"])).final
        (0.5, 0.5, 0.0)
    """
    import numpy as np

    copies = Counter(position for position in distinct.positions if position is not None)
    weights = np.array([copies[index] for index in range(len(distinct.texts))], dtype=np.float64)
    others = max(1.0, float(weights.sum()) - 1.0)
    vocabulary: dict[str, int] = {}
    bags: list[Mapping[int, int]] = [
        # one by one: ``findall`` would hold the GIL
        Counter(vocabulary.setdefault(word.group(), len(vocabulary)) for word in _WORD.finditer(text[:_READ].lower()))
        for text in distinct.texts
    ]
    counts = np.zeros((len(bags), len(vocabulary)), dtype=np.float32)
    for row, bag in enumerate(bags):
        counts[row, list(bag.keys())] = list(bag.values())
    totals = counts.sum(axis=1)
    overlap: list[float] = []
    for row in range(len(bags)):
        shared = np.minimum(counts[row], counts).sum(axis=1)
        f1 = 2.0 * shared / np.maximum(totals + totals[row], 1.0)
        f1[row] = 1.0
        # minus 1: a candidate does not count as agreeing with itself
        overlap.append((float(f1 @ weights) - 1.0) / others)
    answers = _final_answers(distinct.texts, [copies[index] for index in range(len(distinct.texts))])
    votes: Counter[str] = Counter()
    for index, answer in enumerate(answers):
        if answer is not None:
            votes[answer] += copies[index]
    final = [0.0 if answer is None else (votes[answer] - 1) / others for answer in answers]
    return Agreement(tuple(overlap), tuple(final))


def _final_answers(texts: Sequence[str], copies: Sequence[int]) -> list[str | None]:
    """Find final answers. A short text is its own answer if most candidates have one."""
    stated = [final_answer(text) for text in texts]
    with_short = [found or short_answer(text) for found, text in zip(stated, texts, strict=True)]
    known = sum(count for found, count in zip(with_short, copies, strict=True) if found is not None)
    return merge_units(with_short if 2 * known >= sum(copies) else stated)


class LexicalConsensusRanker:
    """Scores a candidate by its agreement with the other members' answers.

    Score = word overlap + ``final_answer_weight`` x share of others with the same final answer. Two candidates agree
    equally, so they tie.

    Args:
        final_answer_weight: Weight of agreement on the final answer. Default 3.0, chosen on training prompts.

    Examples:
        >>> LexicalConsensusRanker().rank("Capital?", ["Rome", "It is Paris", "Paris"]).ranks
        (3, 1, 1)
    """

    name = "consensus"

    def __init__(self, *, final_answer_weight: float = 3.0) -> None:
        self._final_answer_weight = final_answer_weight

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by agreement; see ``Ranker.rank``."""
        distinct = distinct_candidates(candidates)
        agreement = measure_agreement(distinct)
        scores = [
            # rounded, so that equal agreement is a tie whatever the order of summing
            round(overlap + self._final_answer_weight * final, 9)
            for overlap, final in zip(agreement.overlap, agreement.final, strict=True)
        ]
        return Ranking.from_scores(distinct.spread_scores(scores), ranker=self.name, confidence=None)

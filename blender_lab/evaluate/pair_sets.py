"""Pair sets: which of two answers is better?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from blender_core.data.preferences import PreferenceRecord
from blender_core.rank.calibration import calibration_error
from blender_core.rank.protocol import Ranker

__all__ = ["PairNumbers", "evaluate_pairs", "wilson_interval"]


@dataclass(frozen=True, slots=True)
class PairNumbers:
    """Numbers on one pair set. Accuracies are shares in [0, 1] of pairs that are no tie.

    Attributes:
        name: Name of the set.
        pairs: Pairs that are no tie.
        ties: Pairs that judges called a tie; they are not scored.
        accuracy: The better answer has the higher score; equal scores count one half.
        low: Lower end of the 95% interval.
        high: Upper end of the 95% interval.
        longer: Accuracy of "the longer text is better".
        shorter_pairs: Pairs whose shorter answer is the better one.
        shorter_accuracy: Accuracy on those; 0 for whoever only looks at length, ``nan`` where there are none.
        consistency: Share of pairs with the same verdict in both orders; for a ranker that reads two candidates at
            once, of its single passes.
        one_order_accuracy: Accuracy of a single pass in the stored order, the ranker's position bias taken off: half
            the work of the symmetrised logit; ``nan`` for a ranker that does not read pairs.
        calibration_error: Expected calibration error of the confidence over ten equal bins of [0.5, 1] (Guo et al.
            2017); ``nan`` for a ranker that gives none.
    """

    name: str
    pairs: int
    ties: int
    accuracy: float
    low: float
    high: float
    longer: float
    shorter_pairs: int
    shorter_accuracy: float
    consistency: float = math.nan
    one_order_accuracy: float = math.nan
    calibration_error: float = math.nan


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share.

    Args:
        share: Observed share in [0, 1].
        count: Observations.

    Returns:
        Lower and upper end; (0, 1) without observations.

    Examples:
        >>> tuple(round(end, 3) for end in wilson_interval(0.5, 100))
        (0.404, 0.596)
    """
    if count == 0:
        return 0.0, 1.0
    z = 1.959964
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def evaluate_pairs(name: str, records: Iterable[PreferenceRecord], ranker: Ranker) -> PairNumbers:
    """Judge every compared pair of the records on its own.

    Args:
        name: Name of the set.
        records: The records.
        ranker: The ranker.

    Returns:
        The numbers.
    """
    right = longer = shorter_right = 0.0
    pairs = ties = shorter_pairs = 0
    same: list[bool] = []
    single: list[float] = []
    sure: list[tuple[float, float]] = []
    ordered_logits = getattr(ranker, "ordered_logits", None)
    bias = float(getattr(ranker, "position_bias", 0.0))
    for record in records:
        for i, j, p in record.comparisons:
            if p == 0.5:
                ties += 1
                continue
            better, worse = (i, j) if p > 0.5 else (j, i)
            texts = [record.candidates[better], record.candidates[worse]]
            # the better one must not always come first
            texts_given = texts if i == better else texts[::-1]
            ranking = ranker.rank(record.prompt, texts_given)
            scores = ranking.scores
            first, second = scores if i == better else scores[::-1]
            won = 0.5 if first == second else float(first > second)
            pairs += 1
            right += won
            sure.append((ranking.confidence, won))
            if ordered_logits is not None:
                matrix = ordered_logits(record.prompt, texts_given)
                here, there = matrix[0][1], -matrix[1][0]
                single.append(0.5 if here == bias else float((here > bias) == (i == better)))
            else:
                turned = ranker.rank(record.prompt, texts_given[::-1]).scores
                here, there = scores[0] - scores[1], turned[1] - turned[0]
            same.append((here > 0) == (there > 0) and (here < 0) == (there < 0))
            gap = len(texts[0]) - len(texts[1])
            longer += 0.5 if gap == 0 else float(gap > 0)
            if gap < 0:
                shorter_pairs += 1
                shorter_right += won
    accuracy = right / pairs if pairs else math.nan
    low, high = wilson_interval(accuracy, pairs) if pairs else (math.nan, math.nan)
    return PairNumbers(
        name=name,
        pairs=pairs,
        ties=ties,
        accuracy=accuracy,
        low=low,
        high=high,
        longer=longer / pairs if pairs else math.nan,
        shorter_pairs=shorter_pairs,
        shorter_accuracy=shorter_right / shorter_pairs if shorter_pairs else math.nan,
        consistency=sum(same) / pairs if pairs else math.nan,
        one_order_accuracy=sum(single) / len(single) if single else math.nan,
        calibration_error=_calibration_error(sure),
    )


def _calibration_error(sure: list[tuple[float, float]]) -> float:
    if all(confidence == 0.5 for confidence, _ in sure):
        return math.nan
    confidences, won = zip(*sure, strict=True)
    return calibration_error(confidences, won, lowest=0.5)

"""From judgements to the probability that one candidate is better than another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from blender_core.data.preferences import PreferenceRecord

__all__ = ["PairTarget", "model_strengths", "pair_targets"]

PairTarget = tuple[int, int, float]
"""``(i, j, p)``: p in [0, 1] is the probability that candidate i is better than candidate j."""

_SMALLEST_GAP = 0.3


def model_strengths(records: Iterable[PreferenceRecord]) -> dict[str, float]:
    """Fit one strength for each model to soft comparisons that depend on the models alone.

    Least squares on the labels' log-odds (the linear form of the Bradley-Terry model).

    Args:
        records: Records of one source; every label lies strictly between 0 and 1.

    Returns:
        Log-odds strength by model, mean 0; empty where no label can be used.
    """
    odds: dict[tuple[str, str], list[float]] = {}
    for record in records:
        for i, j, p in record.comparisons:
            if 0.0 < p < 1.0:
                odds.setdefault((record.models[i], record.models[j]), []).append(math.log(p / (1.0 - p)))
    names = sorted({name for pair in odds for name in pair})
    if not names:
        return {}
    index = {name: position for position, name in enumerate(names)}
    matrix = np.zeros((len(odds) + 1, len(names)))
    values = np.zeros(len(odds) + 1)
    for row, ((first, second), seen) in enumerate(odds.items()):
        matrix[row, index[first]], matrix[row, index[second]] = 1.0, -1.0
        values[row] = sum(seen) / len(seen)
    matrix[-1] = 1.0
    solution = np.linalg.lstsq(matrix, values, rcond=None)[0]
    return dict(zip(names, map(float, solution), strict=True))


def pair_targets(
    record: PreferenceRecord,
    *,
    strengths: Mapping[str, float] | None = None,
    slope: float = 0.7,
    smallest_gap: float = 0.0,
) -> list[PairTarget]:
    """Every pair of one record with a known order.

    Args:
        record: The record.
        strengths: Strength by model; where given, it alone decides, and pairs closer than 0.3 are left out.
        slope: Log-odds for one step on a graded scale (such as 1 to 10). Scores that are all 0 or 1 are
            right or wrong, which leaves no doubt.
        smallest_gap: Graded scores that differ by less are no pair.

    Returns:
        Targets with i < j. Scores, where the record has them, go before comparisons: they give all pairs.

    Examples:
        >>> record = PreferenceRecord("1", "s", "p", ("a", "b", "c"), ("", "", ""), (1.0, 0.0, 0.0), ())
        >>> pair_targets(record)
        [(0, 1, 1.0), (0, 2, 1.0)]
    """
    if strengths:
        values: list[float | None] = [strengths.get(model) for model in record.models]
        return _graded(values, 1.0, _SMALLEST_GAP)
    if record.scores is not None:
        if set(record.scores) <= {0.0, 1.0}:
            return _graded(list(record.scores), math.inf, 0.5)
        return _graded(list(record.scores), slope, smallest_gap)
    return [(i, j, p) if i < j else (j, i, 1.0 - p) for i, j, p in record.comparisons]


def _graded(values: list[float | None], slope: float, smallest_gap: float) -> list[PairTarget]:
    targets: list[PairTarget] = []
    for i, first in enumerate(values):
        for j in range(i + 1, len(values)):
            second = values[j]
            if first is None or second is None or abs(first - second) < smallest_gap:
                continue
            gap = first - second
            margin = 0.0 if gap == 0.0 else max(-60.0, min(60.0, slope * gap))
            targets.append((i, j, round(1.0 / (1.0 + math.exp(-margin)), 6)))
    return targets

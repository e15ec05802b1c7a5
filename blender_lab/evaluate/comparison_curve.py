"""Quality against comparisons: what a ranker that compares pairs picks when it may compare only some of them.

LLM-Blender, section 4.3 and its trade-off figure: MaxLogits and MaxWins on a random part of the pairs, and one bubble
run with n - 1 comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blender_core.errors import ConfigurationError
from blender_core.rank.comparisons import bubble_run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["ComparisonCurve", "comparison_curve"]

_FAR = 1e6  # stands for an infinite logit, so that sums stay finite


@dataclass(frozen=True, slots=True)
class ComparisonCurve:
    """Mean quality of the pick by number of compared pairs.

    Attributes:
        max_logits: Pairs compared -> quality, picking the greatest sum of logits.
        max_wins: Pairs compared -> quality, picking the most wins.
        bubble: Mean number of pairs of a bubble run, and its quality.
    """

    max_logits: Mapping[int, float]
    max_wins: Mapping[int, float]
    bubble: tuple[float, float]


def comparison_curve(
    logits: Sequence[Sequence[Sequence[float]]],
    quality: Sequence[Sequence[float]],
    *,
    steps: Sequence[int] | None = None,
    repeats: int = 20,
    seed: int = 0,
) -> ComparisonCurve:
    """Compare part of the pairs.

    Args:
        logits: For each prompt a matrix [n, n]: the logit that i is better than j, antisymmetric, as in
            ``Ranking.comparisons``. ``nan`` marks a pair that cannot be compared.
        quality: For each prompt the quality of each candidate, greater is better.
        steps: Numbers of pairs; default about ten, up to all. A prompt with fewer pairs compares all it has.
        repeats: Random choices of pairs, and random orders of the bubble run, a prompt.
        seed: Seed of the choices.

    Returns:
        The curve. Candidates that are equally good after the comparisons share the pick.

    Raises:
        ConfigurationError: The shapes do not fit, or nothing can be compared.

    Examples:
        >>> curve = comparison_curve([[[0, 2, 3], [-2, 0, 1], [-3, -1, 0]]], [[1.0, 0.0, 0.0]])
        >>> curve.max_logits[3], curve.bubble
        (1.0, (2.0, 1.0))
    """
    import numpy as np

    matrices = [np.asarray(matrix, dtype=np.float64) for matrix in logits]
    values = [np.asarray(row, dtype=np.float64) for row in quality]
    if len(matrices) != len(values) or not matrices:
        raise ConfigurationError(
            f"{len(matrices)} matrices and {len(values)} rows of quality; give one of each a prompt"
        )
    for matrix, row in zip(matrices, values, strict=True):
        if matrix.shape != (len(row), len(row)):
            raise ConfigurationError(f"a matrix has shape {matrix.shape} for {len(row)} candidates")
    most = max(len(row) * (len(row) - 1) // 2 for row in values)
    if most < 1:
        raise ConfigurationError("no prompt has two candidates; there is nothing to compare")
    counts = sorted({round(most * place / 10) for place in range(11)} if steps is None else set(steps))
    generator = np.random.default_rng(seed)
    by_logits = {count: 0.0 for count in counts}
    by_wins = {count: 0.0 for count in counts}
    bubble_pairs = bubble_quality = 0.0
    for matrix, row in zip(matrices, values, strict=True):
        pairs = np.array([(i, j) for i in range(len(row)) for j in range(i)], dtype=np.int64).reshape(-1, 2)
        orders = np.array([generator.permutation(len(pairs)) for _ in range(repeats)])
        for count in counts:
            mask = np.zeros((repeats, *matrix.shape))
            for repeat, order in enumerate(orders):
                chosen = pairs[order[:count]]
                mask[repeat, chosen[:, 0], chosen[:, 1]] = mask[repeat, chosen[:, 1], chosen[:, 0]] = 1.0
            known = np.nan_to_num(matrix, posinf=_FAR, neginf=-_FAR)
            by_logits[count] += _picked((mask * known).sum(2), row)
            by_wins[count] += _picked((mask * (known > 0)).sum(2), row)
        runs = [bubble_run(lambda i, j, m=matrix: m[i, j], generator.permutation(len(row)).tolist()) for _ in orders]  # type: ignore[misc]
        bubble_pairs += len(row) - 1
        bubble_quality += math.fsum(float(row[run.best]) for run in runs) / len(runs)
    prompts = len(values)
    return ComparisonCurve(
        {count: total / prompts for count, total in by_logits.items()},
        {count: total / prompts for count, total in by_wins.items()},
        (bubble_pairs / prompts, bubble_quality / prompts),
    )


def _picked(scores: Floats, quality: Floats) -> float:
    """Mean quality of the best by score over the repeats; scores [repeats, n]."""
    top = scores == scores.max(1, keepdims=True)
    return float(((top * quality).sum(1) / top.sum(1)).mean())

"""How well a ranking agrees with the oracle's: Pearson, Spearman, and Spearman's footrule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["RankCorrelation", "rank_correlation"]


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Agreement of two rankings over many prompts.

    Attributes:
        pearson: Pearson's r of the ranks of one member over the prompts, mean over the members: LLM-Blender's
            ``cor_eval``. A member whose rank never changes is left out; ``nan`` where none is left.
        spearman: The same with Spearman's rho.
        footrule: Sum over the members of the distance between both ranks, mean over the prompts; 0 is perfect.
            Chance gives (n^2 - 1) / 3 for n members without ties.
        within: Spearman's rho among the candidates of one prompt, mean over the prompts with an order. Unlike
            ``spearman`` it says how well the candidates of a prompt are told apart.
        prompts: Prompts that were compared.
    """

    pearson: float
    spearman: float
    footrule: float
    within: float
    prompts: int


def rank_correlation(predicted: Sequence[Sequence[float]], oracle: Sequence[Sequence[float]]) -> RankCorrelation:
    """Compare ranks.

    Args:
        predicted: A ranker's ranks, shape [prompts, members], 1 is best; ``nan`` where a member has no answer.
        oracle: The oracle's ranks, same shape.

    Returns:
        The agreement.

    Raises:
        ConfigurationError: The shapes differ, or there is nothing to compare.
        MissingExtraError: scipy is not installed.

    Examples:
        >>> agreement = rank_correlation([[1, 2, 3], [2, 1, 3], [1, 3, 2]], [[1, 2, 3], [2, 1, 3], [1, 3, 2]])
        >>> round(agreement.pearson, 6), round(agreement.spearman, 6), agreement.footrule
        (1.0, 1.0, 0.0)
    """
    import numpy as np

    stats = require("scipy.stats", feature="rank correlation", extra="eval")
    first, second = np.asarray(predicted, dtype=np.float64), np.asarray(oracle, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise ConfigurationError(
            f"ranks of shapes {first.shape} and {second.shape} cannot be compared; give [prompts, members] for both"
        )
    known = ~(np.isnan(first) | np.isnan(second))
    rows = [(first[place, mask], second[place, mask]) for place, mask in enumerate(known) if mask.any()]
    columns = [(first[mask, place], second[mask, place]) for place, mask in enumerate(known.T)]
    return RankCorrelation(
        pearson=_mean([_correlated(stats.pearsonr, *column) for column in columns]),
        spearman=_mean([_correlated(stats.spearmanr, *column) for column in columns]),
        footrule=_mean([float(np.abs(mine - theirs).sum()) for mine, theirs in rows]),
        within=_mean([_correlated(stats.spearmanr, *row) for row in rows]),
        prompts=len(rows),
    )


def _correlated(method: Callable[..., Any], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    # without any spread there is no correlation, and scipy would warn
    if len(first) < 2 or (first == first[0]).all() or (second == second[0]).all():
        return math.nan
    return float(method(first, second).statistic)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan

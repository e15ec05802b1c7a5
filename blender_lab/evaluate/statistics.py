"""Statistics of a benchmark: intervals, paired tests, agreement of ranks, quality by number of comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from blender_core.errors import ConfigurationError
from blender_core.rank.comparisons import bubble_run
from blender_core.runtime.extras import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = [
    "ComparisonCurve",
    "Estimate",
    "PairedTest",
    "RankCorrelation",
    "bootstrap_mean",
    "comparison_curve",
    "holm",
    "mean_of_known",
    "paired_test",
    "rank_correlation",
    "wilson_interval",
]

_BATCH_NUMBERS = 4_000_000  # numbers in memory at once


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval.

    Attributes:
        mean: The mean; ``nan`` without values.
        low: Lower end; equal to the mean with fewer than two values.
        high: Upper end.
        count: Values behind it.
    """

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class PairedTest:
    """One system against another on the same prompts.

    Attributes:
        against: The other system's name.
        difference: Mean of this one minus the other, with its interval.
        p: Probability of a mean difference at least as far from 0 if the two could be exchanged on every prompt.
        p_holm: The same, corrected for the number of systems tested; equal to ``p`` before correction.
    """

    against: str
    difference: Estimate
    p: float
    p_holm: float


def mean_of_known(values: Iterable[float]) -> float:
    """Average the values that are known; ``nan`` without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Compute Wilson's 95% interval of a share (Wilson 1927).

    Equal to ``scipy.stats.binomtest``'s, and also defined for the half successes that equal scores give.

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
    z = NormalDist().inv_cdf(0.975)
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def bootstrap_mean(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Compute a mean and its percentile bootstrap interval (Efron 1979) with scipy.

    Args:
        values: One value a prompt; ``nan`` is left out.
        resamples: Samples drawn with replacement.
        seed: Seed of their generator.

    Returns:
        The estimate.

    Raises:
        ConfigurationError: ``resamples`` is below 100.
        MissingExtraError: scipy is not installed.

    Examples:
        >>> estimate = bootstrap_mean([0.0, 1.0] * 50)
        >>> estimate.mean, 0.38 < estimate.low < 0.42, 0.58 < estimate.high < 0.62
        (0.5, True, True)
    """
    import numpy as np

    if resamples < 100:
        raise ConfigurationError(f"resamples is {resamples}; give at least 100")
    known = np.asarray([value for value in values if not math.isnan(value)], dtype=np.float64)
    mean = float(known.mean()) if len(known) else math.nan
    if len(known) < 2 or (known == known[0]).all():
        return Estimate(mean, mean, mean, len(known))
    stats = require("scipy.stats", feature="bootstrap intervals", extra="eval")
    interval = stats.bootstrap(
        (known,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _BATCH_NUMBERS // len(known)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high), len(known))


def paired_test(
    first: Sequence[float], second: Sequence[float], *, against: str, resamples: int = 9999, seed: int = 0
) -> PairedTest:
    """Test a mean difference by a two-sided paired permutation test with scipy.

    Under the null hypothesis the two values of a prompt could change places, so signs of differences are flipped
    (Fisher 1935; Smucker, Allan and Carterette 2007 for system comparisons). All flips are tried with few
    prompts.

    Args:
        first: One value a prompt; prompts where either is ``nan`` are left out.
        second: The other system's values on the same prompts.
        against: The other system's name.
        resamples: Random flips.
        seed: Seed of their generator.

    Returns:
        The test, not yet corrected.

    Raises:
        ConfigurationError: The lengths differ.
        MissingExtraError: scipy is not installed.

    Examples:
        >>> test = paired_test([1.0] * 8, [0.0] * 8, against="other")
        >>> test.difference.mean, test.p == 2 / 2**8
        (1.0, True)
    """
    import numpy as np

    if len(first) != len(second):
        raise ConfigurationError(f"{len(first)} and {len(second)} values cannot be paired")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if not math.isnan(a + b)]
    differences = [a - b for a, b in pairs]
    estimate = bootstrap_mean(differences, seed=seed)
    if not any(differences):
        return PairedTest(against, estimate, 1.0, 1.0)
    if len(pairs) < 2:
        return PairedTest(against, estimate, math.nan, math.nan)
    stats = require("scipy.stats", feature="paired tests", extra="eval")

    def statistic(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        result: np.ndarray = np.mean(a - b, axis=axis)
        return result

    found = stats.permutation_test(
        (np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BATCH_NUMBERS // (2 * len(pairs))),
        rng=np.random.default_rng(seed),
    )
    p = min(1.0, float(found.pvalue))
    return PairedTest(against, estimate, p, p)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values for their number (Holm 1979), in the order given.

    Args:
        p_values: p-values; ``nan`` stays and does not count.

    Returns:
        Corrected p-values, at most 1.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    order = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=lambda index: p_values[index])
    corrected = list(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[index]))
        corrected[index] = highest
    return tuple(corrected)


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Agreement of two rankings over many prompts.

    Attributes:
        pearson: Pearson's r of the ranks of one member over the prompts, mean over the members: LLM-Blender's
            ``cor_eval``. A member whose rank never changes is left out; ``nan`` if none is left.
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
    """Compare a ranker's ranks with the oracle's.

    Args:
        predicted: A ranker's ranks, shape [prompts, members], 1 is best; ``nan`` if a member has no answer.
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
        pearson=mean_of_known([_correlated(stats.pearsonr, *column) for column in columns]),
        spearman=mean_of_known([_correlated(stats.spearmanr, *column) for column in columns]),
        footrule=mean_of_known([float(np.abs(mine - theirs).sum()) for mine, theirs in rows]),
        within=mean_of_known([_correlated(stats.spearmanr, *row) for row in rows]),
        prompts=len(rows),
    )


def _correlated(method: Callable[..., Any], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    # without any spread there is no correlation, and scipy would warn
    if len(first) < 2 or (first == first[0]).all() or (second == second[0]).all():
        return math.nan
    return float(method(first, second).statistic)


_FAR = 1e6  # instead of an infinite logit, so that sums stay finite


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
    """Measure the pick's quality if only part of the pairs is compared.

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

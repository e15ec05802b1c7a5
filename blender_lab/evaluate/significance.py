"""How sure a number is: bootstrap intervals, and paired tests that know both systems saw the same prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require

__all__ = ["Estimate", "PairedTest", "bootstrap_mean", "holm", "paired_test"]

_BATCH_NUMBERS = 4_000_000  # numbers in memory at once


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval.

    Attributes:
        mean: The mean; ``nan`` without values.
        low: Lower end; equal to the mean where there are fewer than two values.
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


def bootstrap_mean(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean and percentile bootstrap interval (Efron 1979) by ``scipy.stats.bootstrap``.

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
    """Two-sided paired permutation test of the mean difference by ``scipy.stats.permutation_test``.

    Under the null hypothesis the two values of a prompt could change places, so signs of differences are flipped
    (Fisher 1935; Smucker, Allan and Carterette 2007 for system comparisons). All flips are tried where there are few
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

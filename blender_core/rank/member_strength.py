"""Estimate the strength of members from a ranker's scores, ratings and declarations.

The score of member m's answer is the sum of a prompt effect, m's strength and an effect of the answer. Strengths are
normal around 0, with a variance estimated from the scores (empirical Bayes, Efron and Morris 1973). Ratings add a
logistic regression: a factor for the ranker's scores, and an extra for each member that the scores do not show. A
declaration is the prior mean of these extras.

All scores, margins and strengths here are logits: the ranker's scores divided by its temperature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

__all__ = ["MemberStrength", "RatedPair", "StrengthFit", "fit_strengths", "strengths_from_scores"]

_EM_STEPS = 50
_SPREAD_STEPS = 12
_SMALLEST_TRUST = 0.05
# margins of a billionth of a logit are rounding errors, and their inverses overflow
_SMALLEST_SQUARES = 1e-20
# prior variance of the extras in squared logits, and its weight as a number of members
_SPREAD, _SPREAD_MEMBERS = 0.25, 4.0
# prior variance of a declared member in squared logits, and the share of a strength seen in scores that the
# declaration already holds
_DECLARED_SPREAD, _DECLARED_SHARE = 0.1, 0.5


class RatedPair(NamedTuple):
    """Two members' answers to one prompt, rated by the user.

    Attributes:
        first: Name of a member.
        second: Name of another.
        margin: The ranker's logit that the first answer is better; ``None`` if unknown.
        won: Probability that the first is better, in [0, 1].
        weight: Weight of the pair in the fit.
    """

    first: str
    second: str
    margin: float | None
    won: float
    weight: float


@dataclass(frozen=True, slots=True)
class MemberStrength:
    """The estimated strength of one member.

    Attributes:
        mean: Logit that its answer to some prompt is better than the average member's; higher is better.
        deviation: Standard deviation of that estimate.
        answers: Answers seen.
    """

    mean: float
    deviation: float
    answers: int


@dataclass(frozen=True, slots=True)
class StrengthFit:
    """Strengths of members, and the trust in the ranker.

    Attributes:
        index: Position of each member, by name.
        trust: Factor of the ranker's scores; 1 takes them as they are.
        seen: Strengths that the scores show, centred and multiplied by ``trust``, shape (members,).
        extra: Strengths that they do not show, centred, shape (members,).
        covariance: Of ``seen + extra``, shape (members, members).
    """

    index: Mapping[str, int]
    trust: float
    seen: Array
    extra: Array
    covariance: Array


def fit_strengths(
    index: Mapping[str, int],
    rated: Sequence[RatedPair],
    scores: tuple[Array, Array],
    declared: Mapping[str, float],
    *,
    factor: float,
) -> StrengthFit:
    """Fit the trust in the ranker and the strengths of the members.

    Args:
        index: Position of each member, by name; at least one.
        rated: Pairs. Those without a margin do not affect the trust.
        scores: Mean and covariance of ``strengths_from_scores``.
        declared: Logit of each declared member against the others; any common level.
        factor: Weight of a strength relative to the score of a text.

    Returns:
        The posterior mode, with the covariance there.
    """
    import numpy as np

    mean, covariance = scores
    size = len(index)
    # scores and ratings do not show the common level of all members, so it is removed
    centre = np.eye(size) - 1.0 / size
    trust, extra = 1.0, np.zeros(size)
    if rated or declared:
        told, places = np.zeros(size), np.zeros(0, dtype=int)
        if declared:
            level = sum(declared.values()) / len(declared)
            places = np.array([index[name] for name in declared])
            told[places] = np.array(list(declared.values())) - level - _DECLARED_SHARE * mean[places]
        trust, extra, uncertain = _fit_extras(index, rated, mean, (places, told), factor)
        covariance = trust**2 * covariance + uncertain
    return StrengthFit(index, trust, centre @ (trust * mean), centre @ extra, centre @ covariance @ centre)


def _fit_extras(
    index: Mapping[str, int],
    rated: Sequence[RatedPair],
    mean: Array,
    declared: tuple[npt.NDArray[np.int_], Array],
    factor: float,
) -> tuple[float, Array, Array]:
    """Fit trust and extras; ``declared`` holds the places of the declared members and the prior mean of all."""
    import numpy as np

    from blender_core.rank.logistic_regression import fit_logistic

    places, told = declared
    size, rows = len(index), np.arange(len(rated))
    free = np.setdiff1d(np.arange(size), places)
    first = np.array([index[pair.first] for pair in rated], dtype=int)
    second = np.array([index[pair.second] for pair in rated], dtype=int)
    won = np.array([pair.won for pair in rated])
    weights = np.array([pair.weight for pair in rated])
    known = np.array([pair.margin is not None for pair in rated], dtype=bool)
    margins = np.array([pair.margin or 0.0 for pair in rated])
    ahead = mean[first] - mean[second]
    design = np.zeros((len(rated), size + 1))
    design[:, 0] = np.where(known, margins + factor * ahead, 0.0)
    design[rows, 1 + first] += 1.0
    design[rows, 1 + second] -= 1.0
    offset = np.where(known, 0.0, ahead)
    start: Array = np.r_[1.0, told]
    solution, spread = start.copy(), _SPREAD
    covariance: npt.NDArray[Any] = np.zeros((size + 1, size + 1))
    variances = np.full(size, _DECLARED_SPREAD)
    for _ in range(_SPREAD_STEPS):
        variances[free] = spread
        # the prior of the trust has the standard deviation 1
        precision = np.diag(1.0 / np.r_[1.0, variances])
        solution, curvature = fit_logistic(
            design, won, weights, precision, offset=offset, prior_mean=start, start=solution
        )
        covariance = np.linalg.inv(curvature)
        away, uncertain = solution[1:][free], np.diag(covariance)[1:][free]
        found = float(away @ away) + float(uncertain.sum())
        spread = (found + _SPREAD_MEMBERS * _SPREAD) / (len(free) + _SPREAD_MEMBERS)
    return max(float(solution[0]), _SMALLEST_TRUST), solution[1:], covariance[1:, 1:]


def strengths_from_scores(
    index: Mapping[str, int], margins: Mapping[tuple[str, str], tuple[float, float, float]], freedom: int
) -> tuple[Array, Array]:
    """Estimate strengths from scores without labels, by expectation maximisation.

    Args:
        index: Position of each member, by name.
        margins: Weight, weighted margin and weighted squared margin, by pair of members.
        freedom: Degrees of freedom of the squared margins.

    Returns:
        Posterior mean, shape (members,), and covariance, shape (members, members); zeros if nothing is known.
    """
    import numpy as np

    size = len(index)
    sums = np.array(list(margins.values())).reshape(-1, 3)
    squares = float(sums[:, 2].sum())
    if freedom == 0 or squares <= _SMALLEST_SQUARES:
        return np.zeros(size), np.zeros((size, size))
    first, second = np.array([(index[one], index[other]) for one, other in margins]).T
    weights = np.zeros((size, size))
    np.add.at(weights, (first, second), sums[:, 0])
    weights += weights.T
    laplacian = np.diag(weights.sum(axis=1)) - weights
    right = np.bincount(first, sums[:, 1], size) - np.bincount(second, sums[:, 1], size)
    # in the eigenvectors of the laplacian every covariance is diagonal, so a step needs no inverse
    values, vectors = np.linalg.eigh(laplacian)
    turned = vectors.T @ right
    within = between = squares / freedom
    variances: Array = np.zeros(size)
    mean: Array = np.zeros(size)
    for _ in range(_EM_STEPS):
        variances = 1.0 / (values / within + 1.0 / between)
        mean = variances * turned / within
        residual = squares - 2.0 * float(mean @ turned) + float(values @ mean**2)
        within = max((residual + float(values @ variances)) / freedom, 1e-9 * squares / freedom)
        between = max((float(mean @ mean) + float(variances.sum())) / size, 1e-9 * squares / freedom)
    return vectors @ mean, (vectors * variances) @ vectors.T

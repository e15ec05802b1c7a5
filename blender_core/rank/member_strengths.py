"""The arithmetic behind a member prior: strengths from scores alone, and what verdicts of the user change.

With ``b`` the ranker's score of an answer plus what its scores say of the member, a verdict that i is better than j
has the logit ``trust * (b_i - b_j) + extra_i - extra_j``. How far the ranker is to be trusted, and what it does not see
of a member, are both estimated from the verdicts: a logistic regression with normal priors (empirical Bayes again: the
spread of the extras comes from the verdicts, too).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

__all__ = ["Verdict", "VerdictFit", "fit_verdicts", "strengths_from_scores"]

_EM_STEPS = 50
_SPREAD_STEPS = 12
_NEWTON_STEPS = 25
_SMALLEST_SHARE = 1e-6  # of a Newton step
_SMALLEST_TRUST = 0.05
# the extras' variance in squared logits before any verdict, and how many members that belief counts for
_SPREAD, _SPREAD_MEMBERS = 0.25, 4.0


class Verdict(NamedTuple):
    """A verdict on two members' answers to one prompt.

    Attributes:
        first: Name of a member.
        second: Name of another.
        margin: The ranker's score of the first answer minus that of the second; ``None`` where it is not known.
        won: 1 where the first is better, 0 where the second is, between for doubt.
        weight: How much the verdict counts.
    """

    first: str
    second: str
    margin: float | None
    won: float
    weight: float


@dataclass(frozen=True, slots=True)
class VerdictFit:
    """What verdicts say of the ranker and of the members.

    Attributes:
        trust: Factor of the ranker's scores; 1 is what the ranker claims for itself.
        extra: What its scores do not show of each member, on the ranker's scale, shape (members,).
        covariance: Of ``extra``.
    """

    trust: float
    extra: Array
    covariance: Array


def fit_verdicts(
    index: Mapping[str, int], verdicts: Sequence[Verdict], strengths: Array, *, temperature: float, factor: float
) -> VerdictFit:
    """Fit trust and extras to verdicts.

    Args:
        index: Place by member.
        verdicts: At least one. Those without a margin say nothing about the trust.
        strengths: What the scores say of the members, shape (members,).
        temperature: The ranker's: a margin divided by it is the logit that the ranker claims.
        factor: Weight of a strength against the score of a text.

    Returns:
        The posterior mode, with the covariance there.
    """
    import numpy as np

    first = np.array([index[verdict.first] for verdict in verdicts])
    second = np.array([index[verdict.second] for verdict in verdicts])
    won = np.array([verdict.won for verdict in verdicts])
    weights = np.array([verdict.weight for verdict in verdicts])
    known = np.array([verdict.margin is not None for verdict in verdicts])
    margins = np.array([verdict.margin or 0.0 for verdict in verdicts])
    ahead = strengths[first] - strengths[second]
    rows, size = np.arange(len(verdicts)), len(index)
    design = np.zeros((len(verdicts), size + 1))
    design[:, 0] = np.where(known, margins + factor * ahead, 0.0) / temperature
    design[rows, 1 + first] += 1.0
    design[rows, 1 + second] -= 1.0
    offset = np.where(known, 0.0, ahead) / temperature
    start = np.zeros(size + 1)
    start[0] = 1.0
    solution, spread = start.copy(), _SPREAD
    covariance: npt.NDArray[Any] = np.zeros((size + 1, size + 1))
    for _ in range(_SPREAD_STEPS):
        # the trust is off by a factor of itself or so
        precision = np.diag(np.r_[1.0, np.full(size, 1.0 / spread)])
        solution, curvature = _posterior_mode(design, offset, weights, won, precision, start, solution)
        covariance = np.linalg.inv(curvature)
        extra = solution[1:]
        seen = float(extra @ extra) + float(np.trace(covariance[1:, 1:]))
        spread = (seen + _SPREAD_MEMBERS * _SPREAD) / (size + _SPREAD_MEMBERS)
    return VerdictFit(
        max(float(solution[0]), _SMALLEST_TRUST), temperature * solution[1:], temperature**2 * covariance[1:, 1:]
    )


def _posterior_mode(
    design: Array, offset: Array, weights: Array, won: Array, precision: Array, start: Array, solution: Array
) -> tuple[Array, Array]:
    """The best coefficients of the logistic regression, and the curvature there.

    Newton's method. A step that would make things worse is halved: from margins of many logits a whole step jumps
    over the mode, and the next one jumps further.
    """
    import numpy as np

    def badness(at: Array) -> float:
        logits = design @ at + offset
        away = at - start
        return float(weights @ (np.logaddexp(0.0, logits) - won * logits)) + 0.5 * float(away @ precision @ away)

    now = badness(solution)
    for step_number in range(_NEWTON_STEPS + 1):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ solution + offset, -60.0, 60.0)))
        curvature: Array = (design.T * (weights * chance * (1.0 - chance))) @ design + precision
        if step_number == _NEWTON_STEPS:
            break
        step = np.linalg.solve(curvature, design.T @ (weights * (won - chance)) - precision @ (solution - start))
        share, then = 1.0, badness(solution + step)
        while then > now and share > _SMALLEST_SHARE:
            share /= 2.0
            then = badness(solution + share * step)
        if then > now:
            break
        solution, now = solution + share * step, then
        if float(np.abs(step).max()) < 1e-8:
            break
    return solution, curvature


def strengths_from_scores(
    index: Mapping[str, int], margins: Mapping[tuple[str, str], tuple[float, float, float]], freedom: int
) -> tuple[Array, Array]:
    """Strengths from a ranker's scores, without labels: empirical Bayes by expectation maximisation.

    Args:
        index: Place by member.
        margins: By pair of members the weight, the weighted margin and the weighted squared margin.
        freedom: Degrees of freedom behind the squares.

    Returns:
        Posterior mean, shape (members,), and covariance; zeros where nothing is known.
    """
    import numpy as np

    size = len(index)
    laplacian, right, squares = np.zeros((size, size)), np.zeros(size), 0.0
    for (first, second), (weight, linear, square) in margins.items():
        i, j = index[first], index[second]
        laplacian[[i, j], [i, j]] += weight
        laplacian[[i, j], [j, i]] -= weight
        right[i] += linear
        right[j] -= linear
        squares += square
    if freedom == 0 or squares <= 0.0:
        return np.zeros(size), np.zeros((size, size))
    within = between = squares / freedom
    mean: npt.NDArray[Any] = np.zeros(size)
    covariance: npt.NDArray[Any] = np.zeros((size, size))
    for _ in range(_EM_STEPS):
        covariance = np.linalg.inv(laplacian / within + np.eye(size) / between)
        mean = covariance @ right / within
        residual = squares - 2.0 * float(mean @ right) + float(mean @ laplacian @ mean)
        within = max((residual + float(np.trace(laplacian @ covariance))) / freedom, 1e-9 * squares / freedom)
        between = max((float(mean @ mean) + float(np.trace(covariance))) / size, 1e-9 * squares / freedom)
    return mean, covariance

"""Fit logistic regressions with a Gaussian prior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["LogisticFit", "fit_logistic", "sigmoid"]

Array = npt.NDArray[np.float64]

_MOST_STEPS = 100
_SMALLEST_SHARE = 1e-8  # of a Newton step
_SMALLEST_STEP = 1e-10


class LogisticFit(NamedTuple):
    """The mode of the posterior.

    Attributes:
        coefficients: Shape [size].
        curvature: Hessian of the negative log posterior at the mode, shape [size, size]; its inverse is the covariance
            of the Laplace approximation.
    """

    coefficients: Array
    curvature: Array


def sigmoid(values: Array) -> Array:
    """Turn logits into probabilities, without overflow.

    Examples:
        >>> sigmoid(np.array([0.0, -1000.0])).tolist()
        [0.5, 0.0]
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))


def fit_logistic(
    design: Array,
    targets: Array,
    weights: Array,
    precision: Array,
    *,
    offset: Array | float = 0.0,
    prior_mean: Array | float = 0.0,
    start: Array | None = None,
) -> LogisticFit:
    """Find the coefficients that maximise the posterior.

    The model is ``P(target) = sigmoid(design @ coefficients + offset)``. The problem is convex; Newton's method solves
    it. A step that would raise the loss is halved: if the sigmoid is flat, a full step overshoots the mode.

    Args:
        design: Features of the n observations, shape [n, size].
        targets: Probabilities in [0, 1], shape [n].
        weights: Weight of each observation, shape [n].
        precision: Inverse covariance of the prior, shape [size, size].
        offset: Known part of each logit, shape [n].
        prior_mean: Mean of the prior, shape [size].
        start: Initial coefficients, shape [size]; default the mean of the prior.

    Returns:
        The fit.

    Examples:
        >>> fit = fit_logistic(np.ones((4, 1)), np.array([1.0, 1.0, 1.0, 0.0]), np.ones(4), np.zeros((1, 1)))
        >>> round(float(sigmoid(fit.coefficients)[0]), 3)
        0.75
    """
    mean = np.zeros(design.shape[1]) + prior_mean
    solution = mean if start is None else start

    def loss(at: Array) -> float:
        logits, away = design @ at + offset, at - mean
        return float(weights @ (np.logaddexp(0.0, logits) - targets * logits)) + 0.5 * float(away @ precision @ away)

    def curvature(chances: Array) -> Array:
        found: Array = (design.T * (weights * chances * (1.0 - chances))) @ design + precision
        return found

    now = loss(solution)
    for _ in range(_MOST_STEPS):
        chances = sigmoid(design @ solution + offset)
        gradient = design.T @ (weights * (targets - chances)) - precision @ (solution - mean)
        step = np.linalg.solve(curvature(chances), gradient)
        share, then = 1.0, loss(solution + step)
        while then > now and share > _SMALLEST_SHARE:
            share /= 2.0
            then = loss(solution + share * step)
        if then > now:
            break
        solution, now = solution + share * step, then
        if float(np.abs(share * step).max()) < _SMALLEST_STEP:
            break
    return LogisticFit(solution, curvature(sigmoid(design @ solution + offset)))

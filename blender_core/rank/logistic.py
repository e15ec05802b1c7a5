"""Logistic regression with a Gaussian prior: the one fit behind Bradley-Terry models and combined scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["fit_logistic"]

Array = npt.NDArray[np.float64]

_SMALLEST_SHARE = 1e-8  # of a Newton step


def fit_logistic(
    design: Array,
    targets: Array,
    weights: Array,
    precision: Array,
    *,
    offset: float | Array = 0.0,
    mean: Array | None = None,
    start: Array | None = None,
    max_steps: int = 100,
) -> tuple[Array, Array]:
    """Fit ``P(target) = sigmoid(design @ x + offset)`` by Newton's method.

    The problem is convex. A step that would raise the loss is halved: if the sigmoid is flat, a whole step jumps over
    the optimum.

    Args:
        design: Features, shape (rows, coefficients). There is no intercept but a column that holds one.
        targets: Probabilities in [0, 1], shape (rows,).
        weights: How much each row counts, same shape.
        precision: Inverse covariance of the prior, shape (coefficients, coefficients); must be positive definite.
        offset: Added to every logit.
        mean: Mean of the prior; ``None`` for zeros.
        start: Where to begin; ``None`` for the prior's mean.
        max_steps: Newton steps at most.

    Returns:
        The coefficients, and the curvature of the loss there: the inverse covariance of the Laplace approximation.

    Examples:
        >>> rows, targets = np.array([[1.0]]), np.array([0.8])
        >>> found, _ = fit_logistic(rows, targets, np.ones(1), np.eye(1) * 1e-9)
        >>> round(float(found[0]), 3)
        1.386
    """
    center = np.zeros(design.shape[1]) if mean is None else mean
    solution = (center if start is None else start).copy()

    def loss(at: Array) -> float:
        logits = design @ at + offset
        away = at - center
        return float(weights @ (np.logaddexp(0.0, logits) - targets * logits)) + 0.5 * float(away @ precision @ away)

    def slopes(at: Array) -> tuple[Array, Array]:
        chance = 0.5 * (1.0 + np.tanh(0.5 * (design @ at + offset)))
        gradient = design.T @ (weights * (targets - chance)) - precision @ (at - center)
        return gradient, (design.T * (weights * chance * (1.0 - chance))) @ design + precision

    now = loss(solution)
    gradient, curvature = slopes(solution)
    for _ in range(max_steps):
        step = np.linalg.solve(curvature, gradient)
        share, then = 1.0, loss(solution + step)
        while then > now and share > _SMALLEST_SHARE:
            share /= 2.0
            then = loss(solution + share * step)
        if then > now:
            break
        solution, now = solution + share * step, then
        gradient, curvature = slopes(solution)
        if float(np.abs(share * step).max()) < 1e-10:
            break
    return solution, curvature

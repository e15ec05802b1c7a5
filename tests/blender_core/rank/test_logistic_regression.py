"""The logistic fit finds the optimum from anywhere, and knows how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.rank.logistic_regression import fit_logistic


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


@given(
    st.integers(1, 4),
    st.integers(1, 30),
    st.floats(0.01, 10.0),
    st.floats(-3.0, 3.0),
    st.sampled_from([1.0, 40.0, 1e-3]),
    st.integers(0, 999),
)
def test_the_gradient_vanishes_at_what_is_found(size, rows, ridge, offset, scale, seed):
    rng = np.random.default_rng(seed)
    design, targets, weights = scale * rng.normal(size=(rows, size)), rng.random(rows), rng.random(rows)
    mean, start = rng.normal(size=size), 20 * rng.normal(size=size)
    found, curvature = fit_logistic(
        design, targets, weights, ridge * np.eye(size), offset=offset, prior_mean=mean, start=start
    )
    expected = sigmoid(design @ found + offset)
    gradient = design.T @ (weights * (targets - expected)) - ridge * (found - mean)
    assert np.abs(np.linalg.solve(curvature, gradient)).max() < 1e-6
    spread = weights * expected * (1 - expected)
    assert curvature == pytest.approx((design.T * spread) @ design + ridge * np.eye(size), rel=1e-6, abs=1e-9)


def test_noise_free_labels_give_their_coefficients_back():
    rng = np.random.default_rng(0)
    truth = np.array([1.5, -0.5, 3.0])
    design = rng.normal(size=(200, 3))
    found, _ = fit_logistic(design, sigmoid(design @ truth), np.ones(200), 1e-12 * np.eye(3))
    assert found == pytest.approx(truth, abs=1e-6)


def test_separable_labels_stay_finite():
    found, _ = fit_logistic(np.array([[1.0], [2.0]]), np.ones(2), np.ones(2), np.eye(1) * 1e-3)
    assert 1.0 < float(found[0]) < 100.0


def test_without_observations_the_prior_stays_and_its_mean_is_zero_by_default():
    nothing = np.zeros((0, 2)), np.zeros(0), np.zeros(0)
    assert fit_logistic(*nothing, np.eye(2))[0].tolist() == [0.0, 0.0]
    assert fit_logistic(*nothing, np.eye(2), prior_mean=np.array([1.0, -2.0]))[0] == pytest.approx([1.0, -2.0])
    # two votes against each other say that all are alike
    found, _ = fit_logistic(np.ones((2, 1)), np.array([0.0, 1.0]), np.ones(2), np.eye(1))
    assert found == pytest.approx([0.0])

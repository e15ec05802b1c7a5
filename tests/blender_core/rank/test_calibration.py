"""Temperature, position bias and calibration error are found where they are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_core.rank.calibration import (
    TEMPERATURES,
    calibration_error,
    fit_calibration,
    fit_temperature,
    labelled_pairs,
    log_loss,
)
from blender_lab.data.preferences import PreferenceRecord

finite = st.floats(-50, 50)


def synthetic(temperature, bias, *, pairs=4000, seed=0):
    """Judged pairs and the network that sees them with a known temperature and bias."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 2, pairs)
    better = rng.random(pairs) < 1 / (1 + np.exp(-margin))
    labelled = [(str(n), "left", "right", "A" if won else "B") for n, won in enumerate(better)]

    def logits(comparisons):
        return [
            float(temperature * margin[int(prompt)] * (1 if a == "left" else -1) + bias) for prompt, a, b in comparisons
        ]

    return labelled, logits


@pytest.mark.parametrize("both_orders", [True, False])
@pytest.mark.parametrize(("temperature", "bias"), [(3.0, 0.7), (0.4, -0.2)])
def test_the_true_temperature_and_bias_are_found(temperature, bias, both_orders):
    found = fit_calibration(*synthetic(temperature, bias), both_orders=both_orders)
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    assert found.position_bias == pytest.approx(bias, abs=1e-9)
    assert found.error_after < 0.02 < found.error_before
    assert found.loss_after < found.loss_before
    assert (found.pairs, found.skipped, found.both_orders) == (4000, 0, both_orders)


def test_both_orders_are_fitted_unless_told_otherwise():
    assert fit_calibration(*synthetic(2.0, 0.5, pairs=200)).both_orders is True


@settings(max_examples=60)
@given(st.lists(st.tuples(finite, st.floats(0, 1)), min_size=1, max_size=30), st.floats(*TEMPERATURES))
def test_a_fit_never_raises_the_log_loss(pairs, other):
    logits, targets = (np.array(values) for values in zip(*pairs, strict=True))
    fitted = fit_temperature(logits, targets)
    assert TEMPERATURES[0] <= fitted <= TEMPERATURES[1]
    assert log_loss(logits / fitted, targets) <= log_loss(logits / other, targets) + 1e-9


@pytest.mark.parametrize(
    ("logits", "targets", "expected"),
    [
        ([1.0, -2.0], [1.0, 0.0], TEMPERATURES[0]),  # separable
        ([1.0], [1.0], TEMPERATURES[0]),
        ([3.0, -1.0], [0.5, 0.5], TEMPERATURES[1]),  # all ties
        ([2.0], [0.0], TEMPERATURES[1]),
        ([0.0, 0.0], [1.0, 0.0], 1.0),
        ([], [], 1.0),
    ],
)
def test_degenerate_data_end_within_bounds(logits, targets, expected):
    assert fit_temperature(logits, targets) == expected


@pytest.mark.parametrize("logit", [0.25, -1.0])
@pytest.mark.parametrize(
    ("temperature", "fitted"),
    [
        *((share * TEMPERATURES[0], TEMPERATURES[0]) for share in (0.6, 0.9)),
        *((inside, inside) for inside in (1.1 * TEMPERATURES[0], 0.7, 1.0, 1.4, 0.7 * TEMPERATURES[1])),
        *((share * TEMPERATURES[1], TEMPERATURES[1]) for share in (1.1, 1.6)),
    ],
)
def test_the_temperature_of_a_likelihood_is_found_up_to_its_bounds(logit, temperature, fitted):
    assert fit_temperature([logit], [1 / (1 + math.exp(-logit / temperature))]) == pytest.approx(fitted)


def test_weights_count_as_copies():
    assert fit_temperature([1.0, 2.0], [1.0, 0.2], [3.0, 1.0]) == pytest.approx(
        fit_temperature([1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 0.2])
    )


def test_labels_and_records():
    record = PreferenceRecord("1", "s", "Hi", ("a", "b", "c"), ("", "", ""), None, ((0, 1, 1.0), (2, 0, 0.25)))
    pairs = [("p", "x", "y", "tie"), ("p", "x", "y", "b"), record]
    assert labelled_pairs(pairs) == [
        ("p", "x", "y", 0.5),
        ("p", "x", "y", 0.0),
        ("Hi", "a", "b", 1.0),
        ("Hi", "c", "a", 0.25),
    ]


@pytest.mark.parametrize("pair", [("p", "a", "b", "C"), ("p", "a", "b", 1.5), ("p", "a", "b", math.nan), ("p", "a")])
def test_a_label_that_cannot_be_read(pair):
    with pytest.raises(ConfigurationError, match="pair 0"):
        labelled_pairs([pair])


def test_blanks_and_copies_teach_nothing():
    labelled = [("p", "a", " ", "A"), ("p", "a", "a", "tie")]
    with pytest.raises(ConfigurationError, match="none of 2 labelled pairs"):
        fit_calibration(labelled, lambda _: [])
    found = fit_calibration([*labelled, ("p", "a", "b", 0.5)], lambda pairs: [1.0, 0.0][: len(pairs)])
    assert (found.pairs, found.skipped) == (1, 2)


def test_calibration_error_by_hand():
    assert calibration_error([0.75, 0.75, 0.95], [1.0, 0.0, 1.0]) == pytest.approx((0.5 + 0.05) / 3)
    assert calibration_error([0.52, 0.58], [1.0, 0.0], lowest=0.5) == pytest.approx((0.48 + 0.58) / 2)
    assert calibration_error([1.0, 0.0], [1.0, 0.0]) == 0.0
    assert math.isnan(calibration_error([], []))

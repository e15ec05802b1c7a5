"""Fitting how score and agreement are combined."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from blender_lab.data.preferences import PreferenceRecord
from blender_lab.ranker.finish import RecordFeatures, development_numbers, fit_combination, record_features


def made(rng, weights, count=80):
    """Records whose pairs follow a known combination."""
    records = []
    for _ in range(count):
        features = rng.normal(size=(6, 3))
        margins = features @ np.array(weights)
        pairs = [(i, j, 1 / (1 + np.exp(margins[j] - margins[i]))) for i in range(6) for j in range(i + 1, 6)]
        records.append(RecordFeatures(features, pairs))
    return records


def test_finds_the_weights_that_made_the_labels():
    found = fit_combination({"a": made(np.random.default_rng(0), (1.5, 0.5, 2.0))}, ridge=1e-9)
    assert (found.model_weight, found.overlap_weight, found.final_answer_weight) == pytest.approx(
        (1.5, 0.5, 2.0), rel=1e-3
    )
    assert found.temperature == pytest.approx(1.0, rel=0.05)


def test_agreement_never_counts_against_a_candidate():
    found = fit_combination({"a": made(np.random.default_rng(0), (1.0, -0.5, 0.3))})
    assert found.overlap_weight == 0.0
    assert found.final_answer_weight > 0.0


def test_agreement_can_be_left_out():
    found = fit_combination({"a": made(np.random.default_rng(0), (1.0, 1.0, 1.0))}, use_agreement=False)
    assert (found.overlap_weight, found.final_answer_weight) == (0.0, 0.0)


def test_sources_weigh_the_same():
    rng = np.random.default_rng(0)
    few, many = made(rng, (2.0, 0.0, 0.0), 10), made(rng, (0.5, 0.0, 0.0), 200)
    found = fit_combination({"few": few, "many": many}, use_agreement=False)
    assert 0.8 < found.model_weight < 1.8


def test_features_leave_blanks_and_copies_out():
    record = PreferenceRecord("1", "s", "p", ("a b", "", "a c", "a b"), ("",) * 4, None, ())
    measured = record_features(record, [(0, 1, 1.0), (0, 2, 0.7), (0, 3, 0.5)], lambda prompt, texts: [1.0, 2.0])
    assert measured.pairs == [(0, 2, 0.7)]
    assert measured.features[0].tolist() == measured.features[3].tolist()
    assert measured.features[2, 0] == 2.0
    assert record_features(record, [(0, 1, 1.0)], lambda prompt, texts: [1.0, 2.0]) is None


def test_well_calibrated_scores_have_a_small_calibration_error():
    measured = {"a": made(np.random.default_rng(0), (1.0, 0.0, 0.0))}
    right = fit_combination(measured, ridge=1e-9)
    numbers = development_numbers(measured, right)["a"]
    assert numbers["accuracy"] > 0.95
    assert numbers["calibration_error"] < 0.02


@pytest.mark.parametrize("sharpness", [0.05, 0.3, 1.0, 4.0, 20.0])
def test_the_temperature_is_the_likeliest_however_sharp_the_labels(sharpness):
    # the ridge holds the weight, so the temperature has to make up for it
    rng = np.random.default_rng(3)
    records = []
    for _ in range(200):
        features = np.zeros((4, 3))
        features[:, 0] = rng.normal(size=4)
        margins = sharpness * (features[:, None, 0] - features[None, :, 0])
        pairs = [(i, j, float(1 / (1 + np.exp(-margins[i, j])))) for i in range(4) for j in range(i + 1, 4)]
        records.append(RecordFeatures(features, pairs))
    found = fit_combination({"a": records}, ridge=0.1)
    assert found.temperature == pytest.approx(found.model_weight / sharpness, rel=0.02)

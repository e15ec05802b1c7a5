"""Fitting how the features of candidates are combined."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from blender_core.errors import ConfigurationError
from blender_core.rank.answer_features import FEATURES, TextMeasures, answer_features
from blender_core.text.distinct import distinct_candidates
from blender_lab.data.preferences import PreferenceRecord
from blender_lab.ranker.combine import (
    combination_numbers,
    combination_temperature,
    fit_network,
    fit_weighted_sum,
    measure_record,
)
from blender_lab.ranker.config import CombinationConfig

ENCODER, SIMILARITY, LENGTH = (FEATURES.index(name) for name in ("encoder", "similarity", "length"))


def made(rng, encoder=0.0, similarity=0.0, count=60, candidates=4, **settings):
    """Measured records whose pairs follow a known combination of what the encoders say."""
    records = []
    for number in range(count):
        values, fits = rng.normal(size=candidates), rng.uniform(0.2, 0.9, size=candidates)
        margins = encoder * values + similarity * fits
        pairs = [
            (i, j, float(1 / (1 + np.exp(margins[j] - margins[i]))))
            for i in range(candidates)
            for j in range(i + 1, candidates)
        ]
        texts = tuple(f"answer {number} {index} of some words." for index in range(candidates))
        record = PreferenceRecord(str(number), "s", "What is it?", texts, ("",) * candidates, None, ())
        likeness = np.full((candidates, candidates), 0.5) + 0.5 * np.eye(candidates)
        measures = TextMeasures(values, fits, likeness, np.full(candidates, 8.0), 4, {})
        records.append(measure_record(record, pairs, lambda _prompt, _texts, known=measures: known, most=candidates))
    return records


def test_learns_which_encoder_is_right():
    rng = np.random.default_rng(0)
    config = CombinationConfig(hidden=4, epochs=200, decay=0.01)
    for encoder, similarity in ((2.0, 0.0), (0.0, 8.0)):
        records = made(rng, encoder, similarity)
        network = fit_network({"a": records}, config)
        fresh = made(rng, encoder, similarity)
        numbers = combination_numbers({"a": fresh}, network)["a"]
        assert numbers["accuracy"] > 0.93
        assert numbers["pairs"] == 360


def agreeing(rng, weights, count=80):
    """Records of answers that agree by chance, whose pairs follow known weights of encoder and agreement."""
    records = []
    for number in range(count):
        texts = tuple(
            f"{' '.join(rng.choice(list('abcdefgh'), size=6))} {index}. The answer is {rng.integers(3)}."
            for index in range(6)
        )
        values = rng.normal(size=6)
        record = PreferenceRecord(str(number), "s", "?", texts, ("",) * 6, None, ())
        measures = TextMeasures(values, np.zeros(6), np.eye(6), np.full(6, 8.0), 1, {})
        columns = [FEATURES.index(name) for name in ("encoder", "overlap", "final_answer")]
        margins = answer_features("?", distinct_candidates(texts), measures)[:, columns] @ np.array(weights)
        pairs = [(i, j, float(1 / (1 + np.exp(margins[j] - margins[i])))) for i in range(6) for j in range(i + 1, 6)]
        records.append(measure_record(record, pairs, lambda _prompt, _texts, known=measures: known, most=6))
    return records


def weights_of(network):
    return [network.linear[FEATURES.index(name)] for name in ("encoder", "overlap", "final_answer")]


def test_finds_the_weights_that_made_the_labels():
    found = fit_weighted_sum({"a": agreeing(np.random.default_rng(0), (1.5, 0.5, 2.0))}, {}, ridge=1e-9)
    assert weights_of(found) == pytest.approx([1.5, 0.5, 2.0], rel=1e-2)
    assert not found.needs_similarity


def test_agreement_never_counts_against_a_candidate():
    encoder, overlap, final = weights_of(
        fit_weighted_sum({"a": agreeing(np.random.default_rng(0), (1.0, -2.0, 0.5))}, {})
    )
    assert overlap == 0.0
    assert encoder > 0.0
    assert final > 0.0


@pytest.mark.parametrize("sharpness", [0.05, 0.3, 1.0, 4.0, 20.0])
def test_the_temperature_is_the_likeliest_however_sharp_the_labels(sharpness):
    # the ridge holds the weight, so the temperature has to make up for it
    records = {"a": made(np.random.default_rng(3), encoder=sharpness, count=200)}
    network = fit_weighted_sum(records, {}, ridge=0.1)
    found = combination_temperature(records, network, {})
    assert found == pytest.approx(network.linear[ENCODER] / sharpness, rel=0.02)


def test_well_calibrated_scores_have_a_small_calibration_error():
    records = {"a": made(np.random.default_rng(0), encoder=1.0, count=120)}
    numbers = combination_numbers(records, fit_weighted_sum(records, {}, ridge=1e-9))["a"]
    assert numbers["accuracy"] > 0.95
    assert numbers["calibration_error"] < 0.02


def test_the_same_seed_gives_the_same_network():
    records = {"a": made(np.random.default_rng(0), encoder=1.0, count=10)}
    config = CombinationConfig(hidden=4, epochs=2)
    first, again, other = (fit_network(records, config, seed=seed) for seed in (0, 0, 1))
    assert first.to_dict() == again.to_dict()
    assert first.to_dict() != other.to_dict()


def test_a_feature_can_be_left_out():
    records = {"a": made(np.random.default_rng(0), similarity=8.0)}
    without = CombinationConfig(hidden=4, epochs=5, without=("similarity", "relative_similarity", "best_similarity"))
    network = fit_network(records, without)
    assert network.linear[SIMILARITY] == 0.0
    assert not network.hidden[:, SIMILARITY].any()
    assert fit_network(records, CombinationConfig(hidden=4, epochs=5)).linear[SIMILARITY] > 0.0


def test_sources_weigh_as_the_configuration_says():
    rng = np.random.default_rng(0)
    sources = {"few": made(rng, encoder=2.0, count=15), "many": made(rng, encoder=-2.0, count=150)}
    linear = CombinationConfig()
    few = fit_network(sources, linear.replace(weights={"many": 0.1})).linear[ENCODER]
    many = fit_network(sources, linear.replace(weights={"few": 0.1})).linear[ENCODER]
    assert many < 0 < few
    with pytest.raises(ConfigurationError, match="no source with a weight above 0"):
        fit_network(sources, linear.replace(weights={"few": 0.0, "many": 0.0}))


def test_blanks_copies_and_ties_are_no_pairs():
    record = PreferenceRecord("1", "s", "p", ("a b", "", "a c", "a b"), ("",) * 4, None, ())
    two = TextMeasures(np.array([1.0, 2.0]), np.zeros(2), np.eye(2), np.ones(2), 1, {})
    pairs = [(0, 1, 1.0), (0, 2, 0.7), (0, 3, 1.0), (2, 3, 0.5)]
    measured = measure_record(record, pairs, lambda _prompt, _texts: two, most=4)
    assert measured.pairs == ((0, 2, 0.7),)
    features, own = measured.group([2, 0, 3])
    assert features[:, ENCODER].tolist() == [2.0, 1.0, 1.0]
    assert own == [(1, 0, 0.7)]
    assert measure_record(record, [(0, 1, 1.0)], lambda _prompt, _texts: two, most=4) is None


def test_of_many_candidates_those_with_most_pairs_are_kept():
    record = PreferenceRecord("1", "s", "p", ("a", "b", "c", "d"), ("",) * 4, None, ())
    asked = []

    def measures(_prompt, texts):
        asked.append(texts)
        count = len(texts)
        return TextMeasures(np.zeros(count), np.zeros(count), np.eye(count), np.ones(count), 1, {})

    measured = measure_record(record, [(1, 3, 1.0), (0, 3, 1.0), (1, 2, 1.0)], measures, most=2)
    assert asked == [("b", "d")]
    assert measured.pairs == ((0, 1, 1.0),)


def test_the_temperature_makes_up_for_scores_that_are_too_large():
    rng = np.random.default_rng(1)
    records = {"a": made(rng, encoder=2.0, count=150)}
    network = fit_network(records, CombinationConfig())
    plain = combination_temperature(records, network, {})
    wide = combination_temperature(
        records, type(network)(network.mean, network.scale / 3.0, *network_parts(network)), {}
    )
    assert 0.6 < plain < 1.6
    assert wide == pytest.approx(3.0 * plain, rel=0.02)


def network_parts(network):
    return network.linear, network.hidden, network.bias, network.output

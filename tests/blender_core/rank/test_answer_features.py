"""The features of candidates, and the network that combines them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from blender_core.errors import CheckpointError
from blender_core.rank.answer_features import FEATURES, FeatureNetwork, TextMeasures, answer_features
from blender_core.text.distinct import distinct_candidates

LIKENESS = np.array([[1.0, 0.8, 0.2], [0.8, 1.0, 0.4], [0.2, 0.4, 1.0]])


def features(prompt, texts, **changed):
    count = len(texts)
    measures = {
        "encoder": np.zeros(count),
        "similarity": np.full(count, 0.5),
        "likeness": LIKENESS[:count, :count],
        "lengths": np.full(count, 4.0),
        "prompt_length": 5,
        "cut": {},
        **changed,
    }
    found = answer_features(prompt, distinct_candidates(texts), TextMeasures(**measures))
    return {name: found[:, column].tolist() for column, name in enumerate(FEATURES)}


def test_features_of_a_candidate():
    found = features(
        "How tall is the tower?",
        ["The tower is tall.", "the the the the", "I'm sorry, but I can't help with that"],
        lengths=np.array([5.0, 4.0, 11.0]),
    )
    assert found["refusal"] == [0.0, 0.0, 1.0]
    assert found["ended"] == [1.0, 0.0, 0.0]
    assert found["echo"][:2] == [1.0, 1.0]
    assert found["variety"][:2] == [1.0, 0.25]
    assert found["length"] == pytest.approx(np.log([5, 4, 11]).tolist())
    assert found["consensus"] == pytest.approx([0.5, 0.6, 0.3])
    assert np.argsort(found["relative_length"]).tolist() == np.argsort(found["length"]).tolist()
    assert sum(found["relative_length"]) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        ("Answer in one word: who wrote Faust?", {"asks_briefly", "asks_question"}),
        ("Nenne die Hauptstadt. Antworte mit einem Wort.", {"asks_briefly"}),
        ("Explain in detail how a heat pump works.", {"asks_in_detail"}),
        ("Who wrote Faust?", {"asks_question"}),
        ("What does this print?\n```\nprint(1)\n```", {"asks_code"}),
        ("Write a poem.", set()),
    ],
)
def test_what_the_prompt_asks_for(prompt, asks):
    found = features(prompt, ["one", "two"])
    assert {name for name in FEATURES if name.startswith("asks_") and found[name][0]} == asks


def test_calculations_are_checked():
    assert features("What is 17 + 5?", ["22", "23", "I do not know"])["calculation"] == [1.0, -1.0, 0.0]


def test_a_single_candidate_has_finite_features():
    assert np.isfinite(list(features("?", ["yes"]).values())).all()


def test_huge_texts_are_read_in_part():
    huge = "word " * 2_000_000
    found = features(huge, [huge, "short"])
    assert found["variety"][0] == pytest.approx(1 / 400)


def network(units=3, seed=0):
    rng = np.random.default_rng(seed)
    count = len(FEATURES)
    return FeatureNetwork(
        rng.normal(size=count),
        rng.uniform(0.5, 2.0, size=count),
        rng.normal(size=count),
        rng.normal(size=(units, count)),
        rng.normal(size=units),
        rng.normal(size=units),
    )


@pytest.mark.parametrize("units", [0, 3])
def test_a_network_is_kept_as_json(units):
    kept = FeatureNetwork.from_dict(json.loads(json.dumps(network(units).to_dict())))
    rows = np.random.default_rng(1).normal(size=(4, len(FEATURES)))
    assert kept.scores(rows).tolist() == network(units).scores(rows).tolist()
    # bit for bit the same alone
    assert kept.scores(rows[2:3])[0] == kept.scores(rows)[2]


def test_a_weighted_sum_is_a_network():
    rows = np.random.default_rng(1).normal(size=(4, len(FEATURES)))
    scores = FeatureNetwork.weighted(encoder=2.0, overlap=3.0).scores(rows)
    assert scores == pytest.approx(2.0 * rows[:, 0] + 3.0 * rows[:, FEATURES.index("overlap")])


@pytest.mark.parametrize(
    "change",
    [
        {"features": ["encoder"]},
        {"mean": [0.0]},
        {"scale": [0.0] * len(FEATURES)},
        {"linear": "many"},
        {"bias": [float("nan")] * 3},
        {"hidden": [[1.0]]},
    ],
)
def test_a_damaged_network_is_refused(change):
    with pytest.raises(CheckpointError, match="export the ranker again"):
        FeatureNetwork.from_dict({**network().to_dict(), **change})
    with pytest.raises(CheckpointError, match="no feature network"):
        FeatureNetwork.from_dict({"features": list(FEATURES)})

"""A ranking holds every candidate once, and says how sure its first place is."""

from __future__ import annotations

import math

import pytest

from blender_core.errors import RankerError
from blender_core.types.ranking import Ranking, direct_confidence


@pytest.mark.parametrize("order", [(0, 0), (1,), (1, 2), (0, 1, 2), ()])
def test_an_order_names_each_candidate_once(order):
    with pytest.raises(RankerError, match="not a permutation of the 2 candidates"):
        Ranking(order=order, scores=(1.0, 0.0), ranker="r", confidence=0.5)


@pytest.mark.parametrize(
    ("scores", "logit", "confidence"),
    [
        # not compared: the scores stand in
        ([3.0, 1.0], math.nan, 1 / (1 + math.exp(-2))),
        ([3.0, 1.0], 0.5, 1 / (1 + math.exp(-0.5))),
        ([3.0, 1.0], -4.0, 0.5),
        ([1.0, 1.0], 4.0, 0.5),
        ([1.0, -math.inf], math.nan, 1.0),
    ],
)
def test_confidence_by_the_direct_comparison(scores, logit, confidence):
    ranking = Ranking.from_scores(scores, ranker="r", comparisons=[[0.0, logit], [-logit, 0.0]])
    assert direct_confidence(ranking) == pytest.approx(confidence)


def test_without_any_comparison_the_scores_stand_in():
    assert direct_confidence(Ranking.from_scores([3.0, 1.0], ranker="r"), 2.0) == pytest.approx(1 / (1 + math.exp(-1)))

"""Ranks and shares by an oracle, against values worked out by hand and scipy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab.data.mixinstruct import MixRecord, Verdict
from blender_lab.evaluate.oracle import ScoreOracle, TieConvention, VerdictOracle, gpt_ranks, resolve_oracle, tally

SCORES = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=8)


@given(SCORES)
def test_both_ways_to_share_a_rank_are_those_of_scipy(scores):
    stats = pytest.importorskip("scipy.stats")
    negated = [-score for score in scores]
    assert gpt_ranks(scores) == tuple(stats.rankdata(negated, method="min"))
    assert gpt_ranks(scores, shared="average") == tuple(stats.rankdata(negated, method="average"))


@given(SCORES)
def test_the_best_is_first_and_averages_keep_the_mean(scores):
    assert min(gpt_ranks(scores)) == 1.0
    assert math.isclose(sum(gpt_ranks(scores, shared="average")) / len(scores), (len(scores) + 1) / 2)


def test_a_candidate_outside_the_pool_gets_the_rank_it_would_have():
    assert gpt_ranks([0.2, 0.8, 0.5], pool=[0, 1]) == (2.0, 1.0, 2.0)
    assert math.isnan(gpt_ranks([math.nan, 1.0])[0])
    with pytest.raises(ConfigurationError, match="'max'"):
        gpt_ranks([1.0], shared="max")


def test_shares_of_verdicts():
    outcomes = [
        (1.0, Verdict.A_IS_BETTER),
        (1.0, Verdict.A_IS_BETTER),
        (1.0, Verdict.SAME_GOOD),
        (1.0, Verdict.SAME_BAD),
        (2.0, Verdict.B_IS_BETTER),
        (2.0, None),
    ]
    against = tally("vicuna", outcomes)
    assert (against.better, against.same_good, against.same_bad, against.worse, against.itself) == (
        0.25,
        0.125,
        0.125,
        0.25,
        0.25,
    )
    assert against.at_least_as_good == 0.625
    assert against.as_published == 0.375
    assert against.points == 0.25 + 0.5 * 0.375
    assert math.isnan(tally("nobody", []).better)


def record(verdicts, models="abc"):
    return MixRecord.from_dict(
        {
            "instruction": "?",
            "candidates": [{"model": model, "text": model} for model in models],
            "cmp_results": verdicts,
        }
    )


def test_both_tie_conventions():
    judged = record({"a,b": "A is better", "b,c": "Same good", "a,c": "Same bad"})
    assert VerdictOracle().scores(judged, [0, 1, 2]) == (0.5, -0.5, 0.0)
    assert VerdictOracle(TieConvention.POINTS).scores(judged, [0, 1, 2]) == (0.5, 0.25, 0.25)
    with pytest.raises(ConfigurationError, match="'half'"):
        VerdictOracle("half")


def test_a_pair_judged_in_both_orders_counts_once():
    judged = record({"a,b": "A is better", "b,a": "A is better"}, models="ab")
    assert VerdictOracle().scores(judged, [0, 1]) == (0.0, 0.0)
    assert VerdictOracle().scores(record({"a,b": "A is better", "b,a": "B is better"}, models="ab"), [0, 1]) == (1, -1)


def test_a_blank_answer_gains_nothing_by_having_no_score():
    found = MixRecord.from_dict(
        {
            "instruction": "?",
            "candidates": [
                {"model": "a", "text": "x", "scores": {"right": 0.7}},
                {"model": "b", "text": "y", "scores": {"right": 0.3}},
                {"model": "c", "text": "  "},
            ],
        }
    )
    assert ScoreOracle("right").scores(found, [0, 1, 2]) == (0.7, 0.3, 0.3)
    assert ScoreOracle("right").verdict(found, 0, 1) is Verdict.A_IS_BETTER
    assert resolve_oracle("auto", [found]).name == "right"
    with pytest.raises(ConfigurationError, match="beauty"):
        resolve_oracle("beauty", [found])

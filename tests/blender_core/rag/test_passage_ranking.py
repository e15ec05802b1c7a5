"""Passages in order, within a budget of forward passes."""

from __future__ import annotations

import pytest

from blender_core.errors import ConfigurationError
from blender_core.rag import rank_passages
from blender_core.rank import LongestRanker
from blender_core.testing import FakeRanker


@pytest.mark.parametrize(
    ("ranker", "budget", "passages", "read", "forwards"),
    [
        # any ranker may compare all ordered pairs
        (FakeRanker(), 2, 4, 2, 2),
        (FakeRanker(), 11, 9, 3, 6),
        (FakeRanker(), 12, 9, 4, 12),
        (FakeRanker(), 200, 50, 14, 182),
        (LongestRanker(), 3, 9, 3, 3),
        (LongestRanker(), 200, 5, 5, 5),
        (LongestRanker(), 200, 1, 1, 0),
        (FakeRanker(), 200, 0, 0, 0),
    ],
)
def test_the_leaders_that_a_budget_allows_are_read(ranker, budget, passages, read, forwards):
    ranked = rank_passages(ranker, "?", ["x" * (number + 1) for number in range(passages)], budget=budget)
    assert (ranked.read, ranked.forwards) == (read, forwards)
    # the longest of the leaders first, then the rest as they came
    assert ranked.order == (*reversed(range(read)), *range(read, passages))
    scores = [ranked.scores[index] for index in ranked.order]
    assert scores == sorted(scores, reverse=True)


def test_copies_follow_their_first_and_blanks_come_last():
    ranked = rank_passages(FakeRanker(), "?", ["a", "", "ccc", "a", "bb"], budget=200, first_scores=[5, 4, None, 2, 1])
    assert ranked.order == (2, 4, 0, 3, 1)
    assert ranked.scores[0] == ranked.scores[3]


@pytest.mark.parametrize("ranker", [FakeRanker(), LongestRanker()], ids=lambda ranker: ranker.name)
@pytest.mark.parametrize(
    ("passages", "scores"),
    [(["only"], (0.0,)), (["twice", "twice"], (0.0, 0.0)), (["", "only"], (-1.0, 0.0)), (["", ""], (-1.0, -2.0))],
    ids=["one", "a copy", "a blank", "blanks"],
)
def test_a_passage_without_rivals_scores_0(ranker, passages, scores):
    assert rank_passages(ranker, "?", passages).scores == scores


def test_first_scores_choose_the_leaders():
    first_scores = [1.0, None, 3.0, float("nan"), 2.0]
    ranked = rank_passages(FakeRanker(), "?", ["aaaa", "bbb", "c", "d", "ee"], budget=2, first_scores=first_scores)
    # of the two leaders the longer, then the rest by first score, unknown ones as they came
    assert (ranked.order, ranked.read) == ((4, 2, 0, 1, 3), 2)


@pytest.mark.parametrize("settings", [{"budget": 1}, {"first_scores": [1.0]}])
def test_settings_that_cannot_work(settings):
    with pytest.raises(ConfigurationError):
        rank_passages(FakeRanker(), "?", ["a", "b"], **settings)

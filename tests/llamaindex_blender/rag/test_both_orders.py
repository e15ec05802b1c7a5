"""Two answers compared in both orders, with rankers of every kind."""

import math

import pytest

from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.llm_judge import LLMJudge
from blender_core.types.ranking import Ranking
from llamaindex_blender.rag.evaluator import compare_both_orders


class PrefersFirst:
    """All position bias: whatever stands first wins, by its length."""

    name = "biased"

    def rank(self, prompt, candidates):
        scores = [float(len(candidates[0])), 0.0]
        return Ranking.from_scores(scores, ranker=self.name)


def test_a_ranker_without_comparisons_ranks_twice():
    both = compare_both_orders(PrefersFirst(), "?", "four", "two")
    assert (both.first_left, both.second_left) == (4.0, -3.0)
    assert both.disagree
    assert both.mean == 0.5


def test_the_embedded_ranker_has_no_order():
    both = compare_both_orders(EmbeddedRanker.load(), "Capital of France?", "Paris.", "A banana is yellow.")
    assert both.first_left == pytest.approx(both.second_left, abs=1e-5)
    assert both.first_left > 0


def test_a_judge_is_asked_once_an_order():
    asked = []

    def judge(text):
        asked.append(text)
        return "Better: A"

    # a judge that saves half of its calls elsewhere still shows both orders here
    for settings in ({}, {"both_orders": False}):
        both = compare_both_orders(LLMJudge(judge, **settings), "?", "one", "two")
        assert both.disagree
        assert both.first_left == pytest.approx(math.log(3))
        assert both.second_left == pytest.approx(-math.log(3))
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("first", "second", "logit"),
    [("a", " ", math.inf), ("", "a", -math.inf), ("", " ", 0.0), ("same", "same ", 0.0)],
)
def test_blanks_and_copies_need_no_ranker(first, second, logit):
    both = compare_both_orders(PrefersFirst(), "?", first, second)
    assert (both.first_left, both.second_left) == (logit, logit)
    assert not both.disagree

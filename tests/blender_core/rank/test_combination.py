"""Several rankers as one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core import Ranking
from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.rank import CombinedRanker, Ranker
from blender_core.testing import FakeRanker

LONG = FakeRanker(len)
EXCITED = FakeRanker(lambda text: text.count("!"))


class Returns:
    """A ranker that returns what it was made with."""

    name = "broken"

    def __init__(self, result):
        self.result = result

    def rank(self, prompt, candidates):
        return self.result


def test_log_odds_add_up_and_each_part_stays_readable():
    candidates = ["aaaa", "a!!", "aaa", "", "!"]
    half_sure = FakeRanker(len, temperature=2.0)
    ranker = CombinedRanker([half_sure, EXCITED, "longest"], weights=[1.0, -0.5, 0.0])
    ranking = ranker.rank("?", candidates)
    assert ranker.weights == {"fake": 1.0, "fake#2": -0.5, "longest": 0.0}
    assert repr(ranker) == "CombinedRanker(1 * fake + -0.5 * fake#2 + 0 * longest)"
    assert set(ranking.evidence) == {"fake", "fake#2"}
    for index in (0, 1, 2, 4):
        length, marks = ranking.evidence["fake"][index], ranking.evidence["fake#2"][index]
        assert length == pytest.approx((len(candidates[index]) - 11 / 4) / 2)
        assert marks == pytest.approx(-0.5 * (candidates[index].count("!") - 3 / 4))
        assert ranking.scores[index] == pytest.approx(length + marks)
    assert math.isnan(ranking.evidence["fake"][3])
    assert ranking.temperature == 1.0


@pytest.mark.parametrize("factor", [1, 1000])
def test_scores_without_a_scale_are_a_logit_from_best_to_worst(factor):
    without = FakeRanker(lambda text: factor * len(text), temperature=math.inf)
    assert CombinedRanker([without]).rank("?", ["a", "aa", "aaa"]).scores == pytest.approx((-0.5, 0.0, 0.5))


def test_weights_decide():
    candidates = ["aaaa", "a!", "aaa"]
    assert CombinedRanker([LONG, EXCITED], weights=[1.0, 0.0]).rank("?", candidates).order == (0, 2, 1)
    assert CombinedRanker([LONG, EXCITED], weights=[0.1, 3.0]).rank("?", candidates).order == (1, 0, 2)
    assert CombinedRanker([LONG], weights=[-2.0]).rank("?", candidates).order == (1, 2, 0)


def test_differences_to_the_mean_of_the_distinct_candidates():
    ranking = CombinedRanker([LONG]).rank("?", ["a", "aaa", "", "aaa "])
    assert ranking.scores == pytest.approx((-1.0, 1.0, -math.inf, 1.0))
    assert ranking.ties == ((1, 3),)


def test_a_gate_is_a_mixture_of_experts():
    def gate(prompt, candidates):
        return [1.0, 0.0] if "long" in prompt else [0.0, 1.0]

    mixture = CombinedRanker([LONG, EXCITED], gate=gate)
    assert mixture.rank("Give me a long text", ["aaaa", "!"]).best == 0
    assert mixture.rank("Give me a shout", ["aaaa", "!"]).best == 1


def test_an_expert_without_weight_is_not_asked():
    never = FakeRanker(error=RankerError("must not run"))
    assert CombinedRanker([LONG, never], gate=lambda prompt, candidates: [1, 0]).rank("?", ["a", "aa"]).best == 1


def test_a_part_that_fails_is_left_out_and_named():
    down = FakeRanker(error=RankerError("out of order"))
    ranking = CombinedRanker([LONG, down]).rank("?", ["a", "aa"])
    assert ranking.best == 1
    assert ranking.problems == ("fake was left out: out of order",)
    with pytest.raises(RankerError, match="out of order"):
        CombinedRanker([down]).rank("?", ["a", "aa"])


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (FakeRanker(error=ConnectionError("no server")), "ConnectionError: no server"),
        (FakeRanker(error=ZeroDivisionError("a bug")), "ZeroDivisionError: a bug"),
        (Returns(None), "it returned NoneType"),
        (Returns(Ranking.from_scores([1.0], ranker="broken")), "1 scores for 2 candidates"),
        (Returns(Ranking.from_scores([math.nan, math.nan], ranker="broken")), "no finite score"),
    ],
)
def test_whatever_fails_in_a_part_leaves_the_others(part, why):
    ranking = CombinedRanker([part, LONG]).rank("?", ["a", "aa"])
    assert ranking.best == 1
    assert list(ranking.evidence) == ["fake"]
    assert len(ranking.problems) == 1
    assert why in ranking.problems[0]


@pytest.mark.parametrize("error", [CheckpointError("no head"), ConfigurationError("no such member")])
def test_a_part_that_can_never_work_is_not_left_out(error):
    with pytest.raises(type(error)):
        CombinedRanker([FakeRanker(error=error), LONG]).rank("?", ["a", "aa"])


def test_a_ranker_without_an_opinion_adds_nothing():
    even = FakeRanker(lambda text: 0.1 + 0.2)
    assert CombinedRanker([even, LONG]).rank("?", ["a", "aaa"]).best == 1
    assert CombinedRanker([even]).rank("?", ["a", "aaa"]).ties == ((0, 1),)


def test_names_and_votes_of_copies():
    ranking = CombinedRanker(["consensus"]).rank("?", ["Rome", "Paris", "Paris", "Oslo"])
    assert ranking.best == 1


def test_a_score_that_is_not_finite_is_the_lowest():
    class Odd:
        name = "odd"

        def rank(self, prompt, candidates):
            return Ranking.from_scores([math.nan, 1.0, 2.0], ranker="odd", cut={1: 4, -1: 2})

    ranking = CombinedRanker([Odd()]).rank("?", ["a", "b", "c"])
    assert ranking.scores == pytest.approx((-0.5, -0.5, 0.5))
    assert ranking.cut == {1: 4, -1: 2}


@given(st.lists(st.text("a!", max_size=6), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_scores_stay_with_their_texts(candidates, random):
    ranker = CombinedRanker([LONG, EXCITED], weights=[1.0, -2.0])
    scores = ranker.rank("?", candidates).scores
    order = list(range(len(candidates)))
    random.shuffle(order)
    assert [scores[i] for i in order] == pytest.approx(ranker.rank("?", [candidates[i] for i in order]).scores)


def test_all_blank():
    assert CombinedRanker([LONG]).rank("?", ["", " "]).order == (0, 1)


@pytest.mark.parametrize(
    ("rankers", "options"),
    [
        ([], {}),
        ("longest", {}),
        ([LONG], {"weights": [1.0, 2.0]}),
        ([LONG], {"weights": [0.0]}),
        ([LONG], {"weights": [math.nan]}),
        ([LONG], {"weights": [1.0], "gate": lambda prompt, candidates: [1.0]}),
        ([LONG], {"weights": {"longest": 1.0}}),
        ([LONG], {"weights": {1.0}}),
        ([LONG], {"weights": ["x"]}),
        ([LONG], {"weights": 1.0}),
        ([LONG], {"temperature": 0.0}),
        ([LONG], {"temperature": "1"}),
        (["nobody"], {}),
    ],
)
def test_arguments_that_cannot_work(rankers, options):
    with pytest.raises(ConfigurationError):
        CombinedRanker(rankers, **options)


@pytest.mark.parametrize("weights", [[1.0], None, "ab", {"a": 1.0, "b": 2.0}])
def test_a_gate_that_gives_no_weights_that_fit(weights):
    with pytest.raises(RankerError, match="do not fit 2 rankers; give a list"):
        CombinedRanker([LONG, EXCITED], gate=lambda prompt, candidates: weights).rank("?", ["a", "b"])


def test_it_is_a_ranker():
    ranker = CombinedRanker([LONG, "longest"])
    assert isinstance(ranker, Ranker)
    assert "longest" in repr(ranker)

"""Strengths of members: declared, rated, learned from scores without labels, and kept in a file."""

import gc
import itertools
import math
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_core import Blender, MemberPrior
from blender_core.errors import ConfigurationError
from blender_core.testing import FakeMember, FakeRanker
from blender_core.types.ranking import Ranking

NAMES = ["a", "b", "c", "d"]


def ranking(scores, **more):
    return Ranking.from_scores(scores, ranker="fake", **more)


def simulate(true_strengths, prompts, noise, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(prompts, 1)) * 5 + np.array(true_strengths) + rng.normal(size=(prompts, 4)) * noise


def learned(rows, **settings):
    prior = MemberPrior(**settings)
    for row in rows:
        prior.observe(NAMES, ranking(row))
    return prior


def test_strengths_come_near_the_truth_whatever_the_prompts_are_worth():
    truth = [1.0, 0.3, -0.3, -1.0]
    found = learned(simulate(truth, 400, 1.0)).strengths()
    assert [found[name].mean for name in NAMES] == pytest.approx(truth, abs=0.15)
    assert all(0.0 < found[name].deviation < 0.1 and found[name].answers == 400 for name in NAMES)


def test_where_members_do_not_differ_hardly_anything_is_blended_in():
    rows = simulate([0.0] * 4, 200, 1.0)
    found = learned(rows).strengths()
    raw = rows - rows.mean(axis=1, keepdims=True)
    shrunk = np.array([found[name].mean for name in NAMES])
    assert np.abs(shrunk).max() < 0.7 * np.abs(raw.mean(axis=0)).max()


def test_few_prompts_are_shrunk_more_than_many():
    truth = [2.0, 0.0, 0.0, -2.0]
    few, many = learned(simulate(truth, 2, 1.0)).strengths(), learned(simulate(truth, 100, 1.0)).strengths()
    assert few["a"].deviation > 3 * many["a"].deviation


@settings(max_examples=30)
@given(st.permutations(range(6)), st.integers(0, 5))
def test_the_order_of_prompts_does_not_matter(order, seed):
    rows = simulate([1.0, 0.0, 0.0, -1.0], 6, 1.0, seed)
    one, other = learned(rows).strengths(), learned(rows[list(order)]).strengths()
    assert [one[n].mean for n in NAMES] == pytest.approx([other[n].mean for n in NAMES], abs=1e-9)


@settings(max_examples=30)
@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_strengths_follow_the_scale_of_the_scores(scale, shift):
    rows = simulate([1.0, 0.0, 0.0, -1.0], 10, 1.0)
    one, other = learned(rows).strengths(), learned(rows * scale + shift).strengths()
    assert [scale * one[n].mean for n in NAMES] == pytest.approx([other[n].mean for n in NAMES], rel=1e-4, abs=1e-6)


def test_members_missing_here_and_there_are_compared_through_the_others():
    prior = MemberPrior()
    rng = np.random.default_rng(0)
    for _ in range(300):
        # "a" only ever meets the strong "b"; "c" only the weak "d"; both lose by the same margin
        noise = rng.normal(size=4) * 0.2
        prior.observe(["a", "b"], ranking([2.0 + noise[0], 3.0 + noise[1]]))
        prior.observe(["c", "d"], ranking([-3.0 + noise[2], -2.0 + noise[3]]))
        prior.observe(["b", "d"], ranking([3.0 + noise[0], -2.0 + noise[2]]))
    found = prior.strengths()
    assert found["b"].mean > found["a"].mean > found["d"].mean > found["c"].mean


def test_blending_moves_scores_comparisons_and_confidence_together():
    prior = learned(simulate([2.0, 0.0, 0.0, -2.0], 50, 0.5), text_reliability=0.25)
    given_scores = [0.0, 0.0, 0.1, 0.5]
    matrix = [[x - y for y in given_scores] for x in given_scores]
    before = ranking(given_scores, comparisons=matrix, temperature=0.5, cut={0: 3})
    after = prior.blend(NAMES, before)
    assert before.scores == tuple(given_scores)
    assert after.best == 0
    assert after.order[-1] == 3
    assert after.comparisons[0][3] == pytest.approx(after.scores[0] - after.scores[3], abs=1e-5)
    margin = after.scores[after.order[0]] - after.scores[after.order[1]]
    assert after.confidence == pytest.approx(1 / (1 + math.exp(-margin / 0.5)))
    assert (after.cut, after.temperature, after.ranker) == ({0: 3}, 0.5, "fake")


def test_full_reliability_and_an_empty_prior_change_nothing():
    given_ranking = ranking([0.3, 0.1])
    assert MemberPrior().blend(["a", "b"], given_ranking) is given_ranking
    prior = learned(simulate([2.0, 0.0, 0.0, -2.0], 10, 0.5), text_reliability=1.0)
    assert prior.blend(["a", "b"], given_ranking) is given_ranking


def test_copies_share_the_score_of_the_strongest_and_blanks_stay_last():
    prior = learned(simulate([2.0, 0.0, 0.0, -2.0], 50, 0.5))
    after = prior.blend(NAMES, ranking([0.0, 0.0, -math.inf, 0.0]), ["same", "other", " ", "same"])
    assert after.scores[0] == after.scores[3] > after.scores[1]
    assert after.scores[2] == -math.inf
    assert after.ranks[0] == after.ranks[3] == 1


def test_ratings_alone_and_enough_ratings_against_the_ranker():
    alone = MemberPrior()
    for _ in range(5):
        alone.judge("x", "y")
    alone.judge("y", "x", 0.5)
    found = alone.strengths()
    assert found["x"].mean > 0 > found["y"].mean

    prior = learned(simulate([1.0, 0.0, 0.0, -1.0], 30, 0.5))
    for _ in range(3):
        prior.judge("d", "a")
    assert prior.strengths()["a"].mean > prior.strengths()["d"].mean
    for _ in range(200):
        prior.judge("d", "a")
    assert prior.strengths()["d"].mean > prior.strengths()["a"].mean


def judged(rows, ratings, **more):
    prior = MemberPrior(**more)
    for row, rating in zip(rows, ratings, strict=True):
        prior.judge_answers(NAMES, ranking(row), rating)
    return prior


def test_ratings_show_a_member_whose_strength_the_ranker_does_not_see():
    rows = simulate([0.0] * 4, 25, 1.0)
    # "d" is right nearly always, the others now and then, and the scores have nothing to do with it
    rng = np.random.default_rng(1)
    ratings = (rng.uniform(size=(25, 4)) < np.array([0.3, 0.3, 0.3, 0.95])).astype(float)
    prior = judged(rows, ratings)
    fresh = simulate([0.0] * 4, 200, 1.0, seed=2)
    picks = [prior.blend(NAMES, ranking(row)).best for row in fresh]
    assert picks.count(3) > 150
    assert picks.count(3) > 2.5 * [ranking(row).best for row in fresh].count(3)


def test_ratings_that_agree_with_the_ranker_raise_its_confidence_and_others_lower_it():
    rows = simulate([0.0] * 4, 30, 1.0)
    right, wrong = judged(rows, rows), judged(rows, -rows)
    plain = ranking([1.0, 0.0, -0.2, -0.4])
    assert right.blend(NAMES, plain).confidence > plain.confidence > wrong.blend(NAMES, plain).confidence
    assert wrong.blend(NAMES, plain).confidence >= 0.5


@settings(max_examples=30)
@given(st.permutations(range(5)), st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_ratings_count_by_their_order_alone(order, scale, shift):
    rows = simulate([1.0, 0.0, 0.0, -1.0], 5, 1.0)
    ratings = simulate([0.0, 0.0, 1.0, 0.0], 5, 1.0, seed=3)
    one, other = judged(rows, ratings), judged(rows[order], ratings[order] * scale + shift)
    for name, strength in one.strengths().items():
        assert other.strengths()[name].mean == pytest.approx(strength.mean, abs=1e-5)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-200.0, 200.0), min_size=4, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4)
        ),
        min_size=1,
        max_size=25,
    )
)
def test_strengths_stay_finite_whatever_the_scores_and_the_ratings(rows):
    prior = judged([scores for scores, _ in rows], [[float(right) for right in ratings] for _, ratings in rows])
    for strength in prior.strengths().values():
        assert math.isfinite(strength.mean)
        assert math.isfinite(strength.deviation)
        assert strength.deviation >= 0.0
    assert all(math.isfinite(score) for score in prior.blend(NAMES, ranking(rows[0][0])).scores)


def test_ratings_against_very_sure_scores_are_borne():
    # whole Newton steps once jumped over the mode here, each further than the one before
    generator = np.random.default_rng(5)
    scores = generator.normal(size=(60, 8)) * 12.0
    ratings = (generator.random((60, 8)) < 0.6).astype(float)
    prior = MemberPrior()
    names = [f"m{index}" for index in range(8)]
    for row, rated in zip(scores.tolist(), ratings.tolist(), strict=True):
        prior.judge_answers(names, ranking(row), rated)
        prior.observe(names, ranking(row))
    assert max(abs(strength.mean) for strength in prior.strengths().values()) < 12.0


def test_ratings_that_are_near_each_other_count_as_equal():
    prior = MemberPrior()
    prior.judge_answers(NAMES, ranking([1.0, 0.0, 0.0, 0.0]), [1.0, 1.2, 0.9, 1.0], smallest_gap=0.5)
    assert prior.strengths() == {}


def test_blends_after_ratings_keep_scores_and_comparisons_together():
    prior = judged(simulate([0.0] * 4, 10, 1.0), [[1, 0, 0, 0]] * 10)
    scores = [0.5, 0.1, -0.4, 0.0]
    matrix = [[one - other for other in scores] for one in scores]
    after = prior.blend(NAMES, ranking(scores, comparisons=matrix))
    for i, row in enumerate(after.comparisons):
        for j, value in enumerate(row):
            assert value == pytest.approx(after.scores[i] - after.scores[j], abs=1e-5)


def test_priors_of_the_first_format_are_read():
    old = old_format(1)
    assert old["rated"]
    without_ratings = MemberPrior.from_dict({name: value for name, value in old.items() if name != "rated"})
    assert without_ratings.prompts == 2
    assert without_ratings.strengths()["b"].mean > without_ratings.strengths()["a"].mean


def old_format(number, temperature=2.0):
    return {
        "format": number,
        "text_reliability": 0.5,
        "ranker": "fake",
        "temperature": temperature,
        "prompts": 2,
        "freedom": 2,
        "answers": {"a": 2, "b": 2},
        "margins": [["a", "b", 1.0, -1.0, 2.0]],
        "judged": [["a", "b", 1.0, 0.0]],
        "rated": [["a", "b", -1.0, 0.0, 1.0]],
    }


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_priors_of_the_second_format_are_read_on_the_scale_of_their_ranker(temperature):
    same = MemberPrior(text_reliability=0.5)
    for margin in (0.0, -2.0):
        # the two margins of the old sums, in logits
        same.observe(["a", "b"], ranking([margin, 0.0], temperature=temperature))
    same.judge("b", "a")
    same.judge_answers(["a", "b"], ranking([-1.0, 0.0], temperature=temperature), [0.0, 1.0])
    old = old_format(2, temperature)
    old["margins"] = [["a", "b", 1.0, -1.0, 2.0]]
    read = MemberPrior.from_dict(old)
    for name, strength in read.strengths().items():
        assert strength.mean == pytest.approx(same.strengths()[name].mean)
        assert strength.answers == 2


def test_a_saved_prior_is_the_same_prior(tmp_path):
    prior = learned(simulate([1.0, 0.0, 0.0, -1.0], 5, 1.0), text_reliability=0.3)
    prior.judge("a", "b", 0.9)
    prior.judge_answers(NAMES, ranking([1.0, 0.0, 0.5, 0.0]), [0, 0, 1, 1])
    prior.save(tmp_path / "prior.json")
    again = MemberPrior.load(tmp_path / "prior.json")
    assert again.to_dict() == prior.to_dict()
    assert again.strengths() == prior.strengths()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, path: MemberPrior(text_reliability=0.0), "text_reliability"),
        (lambda p, path: p.observe(["a"], ranking([1.0, 2.0])), "1 member names for 2"),
        (lambda p, path: p.judge("a", "a"), "two different"),
        (lambda p, path: p.judge("a", "b", 1.5), "probability"),
        (lambda p, path: p.judge_answers(NAMES, ranking([1.0, 2.0, 3.0, 4.0]), [1, 0]), "ratings are"),
        (lambda p, path: p.judge_answers(["a", "b"], ranking([1.0, 2.0]), [1, math.nan]), "finite"),
        (lambda p, path: p.forget("Capital?", ["a", "b"]), "no rating"),
        (lambda p, path: p.save(), "no file"),
        (lambda p, path: p.save(path / "nowhere" / "prior.json"), "cannot be written"),
        (lambda p, path: MemberPrior(path=path / "nowhere" / "prior.json"), "no folder"),
        (lambda p, path: MemberPrior.declared({"a": 0.5, "b": 1.0}), "'b' is declared with 1.0"),
        (lambda p, path: MemberPrior.declared({"a": "0.5", "b": 0.1}), "'a' is declared"),
        (lambda p, path: MemberPrior.declared(["a", "a"]), "two different"),
        (lambda p, path: MemberPrior.declared(["a"]), "two different"),
        (lambda p, path: MemberPrior.declared("ab"), "two different"),
        (lambda p, path: MemberPrior.load(path / "nothing.json"), "cannot be read"),
        (lambda p, path: MemberPrior.from_dict({"format": 7}), "format 7"),
        (lambda p, path: p.judge_answers(["a", "b"], ranking([1.0, 2.0]), [None, 1]), "None"),
        (lambda p, path: p.judge_answers(["a", "b"], ranking([1.0, 2.0]), [10**400, 1]), "finite number"),
        (lambda p, path: p.judge_answers(["a", "b"], ranking([1e200, 2.0]), [0, 1]), r"1e\+200"),
        (lambda p, path: p.observe(["a", "b"], ranking([1e200, -1e200])), r"1e\+200"),
        (lambda p, path: p.observe(["a", "b"], ranking([1.0, 2.0], temperature=math.nan)), "temperature"),
    ],
)
def test_what_cannot_work_is_said(call, words, tmp_path):
    prior = learned([[1.0, 0.0, 0.0, 0.0]])
    with pytest.raises(ConfigurationError, match=words):
        call(prior, tmp_path)


def stored():
    prior = learned(simulate([1.0, 0.0, 0.0, -1.0], 3, 1.0))
    prior.judge("a", "b", 0.9)
    prior.judge_answers(NAMES, ranking([1.0, 0.0, 0.5, 0.0]), [0, 0, 1, 1])
    return prior.to_dict()


RECORD = {"prompts": 1, "freedom": 1, "answers": {"a": 1, "b": 1}, "margins": [["a", "b", 0.5, 0.5, 0.5]]}
RATED = {"ranker": "fake", "members": ["a", "b"], "scores": [1, 0], "ratings": [1, 0], "gap": 0.0, "weight": 1.0}


def damaged_record(**damage):
    return {"rankers": {"fake": {**RECORD, **damage}}}


def damaged_rating(**damage):
    return {"rated": {"key": {**RATED, **damage}}}


@pytest.mark.parametrize(
    "damage",
    [
        {"declared": {"a": math.nan}},
        {"declared": [1]},
        {"text_reliability": math.nan},
        {"text_reliability": 2.0},
        {"rankers": [1]},
        damaged_record(answers=[1]),
        damaged_record(answers={"a": -1, "b": 1}),
        damaged_record(prompts=math.inf),
        damaged_record(freedom=-1),
        damaged_record(freedom=10**400),
        damaged_record(margins=[["a", "other", 1, 1, 1]]),
        damaged_record(margins=[["a", "a", 1, 1, 1]]),
        damaged_record(margins=[["a", "b", math.nan, 1, 1]]),
        damaged_record(margins=[["a", "b", 1, math.inf, 1]]),
        damaged_record(margins=[["a", "b", 0, 1, 1]]),
        damaged_record(margins=[["a", "b", 1, 1, -1]]),
        damaged_record(margins=[["a", "b", 1, 1, 1e300]]),
        damaged_record(margins=[["a", "b", 1]]),
        {"judged": [["a", "b", 1.0, 5.0]]},
        {"judged": [["a", "b", math.nan, 0.0]]},
        {"judged": [["a", "a", 1.0, 1.0]]},
        damaged_rating(scores=[math.nan, 0]),
        damaged_rating(scores=[None, 0]),
        damaged_rating(scores=[1, 0, 0]),
        damaged_rating(ratings=[math.inf, 0]),
        damaged_rating(gap=-1.0),
        damaged_rating(weight=0.0),
        {**old_format(2), "temperature": 0.0},
        {**old_format(2), "temperature": math.nan},
        {**old_format(2), "temperature": 1e300},
        {**old_format(2), "rated": [["a", "b", None, 1.0, 0.5]]},
        {**old_format(2), "margins": [["a", "b", 1, math.inf, 1]]},
    ],
    ids=str,
)
def test_damaged_state_is_refused(damage):
    sound = {**stored(), **damaged_record(), **damaged_rating()}
    assert MemberPrior.from_dict(sound).prompts == 1
    with pytest.raises(ConfigurationError):
        MemberPrior.from_dict({**sound, **damage})


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.floats(-1e9, 1e9), min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from([1.0, 1e9]),
)
def test_scores_that_are_taken_in_can_be_learned_from(rows, temperature):
    prior = MemberPrior()
    for row in rows:
        prior.observe(NAMES, ranking(row, temperature=temperature))
        prior.judge_answers(NAMES, ranking(row, temperature=temperature), [0, 1, 0, 1])
    assert all(math.isfinite(strength.mean) for strength in prior.strengths().values())
    assert MemberPrior.from_dict(prior.to_dict()).to_dict() == prior.to_dict()


def test_many_threads_lose_no_ranking():
    prior = MemberPrior()
    threads = [
        threading.Thread(target=lambda: [prior.observe(NAMES, ranking([3, 2, 1, 0])) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert prior.prompts == 200
    assert prior.strengths()["a"].answers == 200


def test_a_blender_learns_who_is_strong_and_uses_it():
    members = [FakeMember("strong", "good answer"), FakeMember("weak", "poor answer")]
    # sees the difference on some prompts, and is wrong on the last
    views = iter([(1.0, 0.0)] * 8 + [(0.0, 0.1)])

    class Weak:
        name = "fake"

        def rank(self, prompt, candidates):
            return ranking(next(views))

    prior = MemberPrior(text_reliability=0.3)
    blender = Blender(members, ranker=Weak(), fuser=None, member_prior=prior)
    winners = [blender.blend(f"{number}?").winner for number in range(9)]
    assert winners == ["strong"] * 9
    assert prior.prompts == 9
    assert prior.ranker == "fake"


def test_the_fallback_ranker_teaches_nothing():
    def fail(text):
        raise ValueError("broken")

    prior = MemberPrior()
    blender = Blender([lambda q: "Rome", lambda q: "Paris"], ranker=FakeRanker(fail), fuser=None, member_prior=prior)
    result = blender.blend("Capital?")
    assert result.degraded
    assert prior.prompts == 0


def test_scores_teach_for_their_own_ranker_alone_and_ratings_for_every_one():
    learned_only = learned(simulate([2.0, 0.0, 0.0, -2.0], 30, 0.5))
    other = Ranking.from_scores([0.0, 0.1, 0.0, 0.0], ranker="other")
    assert learned_only.blend(NAMES, other) is other
    rated = judged(simulate([0.0] * 4, 12, 1.0), [[1, 0, 0, 0]] * 12)
    assert rated.blend(NAMES, other).best == 0
    # the margins say how far to trust the ranker that made them, and nothing of another
    against = judged([[1.0, 0.0, 0.0, 0.0]] * 12, [[0, 1, 1, 1]] * 12)
    spread = [0.5, 0.0, 0.0, -0.5]
    shown = against.blend(["x", "y", "z", "d"], ranking(spread))
    assert shown.scores[0] - shown.scores[1] < 0.5
    shown = against.blend(["x", "y", "z", "d"], Ranking.from_scores(spread, ranker="other"))
    assert shown.scores[0] - shown.scores[1] == pytest.approx(0.5)


def test_another_ranker_may_be_used_with_the_same_prior():
    prior = learned([[1.0, 0.0, 0.0, 0.0]])
    members = [FakeMember("a", "HI"), FakeMember("b", "hi there")]
    result = Blender(members, ranker="longest", fuser=None, member_prior=prior).blend("Hi")
    assert result.degraded == ()
    assert (prior.ranker, prior.prompts) == ("longest", 2)


def test_scores_too_large_to_learn_from_cost_no_call():
    prior = MemberPrior()

    class Wild:
        name = "wild"

        def rank(self, prompt, candidates):
            return ranking([1e200, -1e200])

    result = Blender([str.upper, str.lower], ranker=Wild(), fuser=None, member_prior=prior).blend("Hi")
    assert result.text == "HI"
    assert "1e+200" in result.degraded[0]
    assert prior.prompts == 0


class Broken(MemberPrior):
    """Raises, or makes a ranking that cannot be used."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def blend(self, members, ranking, texts=None):
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


@pytest.mark.parametrize(
    "made",
    [
        np.linalg.LinAlgError("singular"),
        ranking([math.nan, math.nan]),
        ranking([math.nan, 1.0]),
        ranking([1.0]),
        None,
    ],
    ids=["raises", "nothing finite", "one not finite", "too few", "no ranking"],
)
def test_a_prior_that_fails_is_left_out_and_said(made):
    prior = Broken(made)
    result = Blender([str.upper, str.lower], ranker="longest", fuser=None, member_prior=prior).blend("Hi")
    assert result.text == "HI"
    assert result.degraded[0].startswith("member prior: ")
    assert result.degraded[0].endswith("ranked without it")
    assert prior.prompts == 0


def test_a_copy_learns_for_itself():
    prior = learned([[1.0, 0.0, 0.0, 0.0]])
    other = pickle.loads(pickle.dumps(prior))
    other.observe(NAMES, ranking([1.0, 2.0, 0.0, 0.0]))
    assert (prior.prompts, other.prompts) == (1, 2)


# -- declared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strengths", [{"weak": 0.5, "strong": 0.8}, ["strong", "weak"]], ids=["shares", "order"])
@pytest.mark.parametrize("ranker", ["embedded", "consensus", "longest", "random"])
def test_a_declared_member_wins_at_once_with_every_ranker(ranker, strengths):
    members = [FakeMember("weak", "It is Lyon in France."), FakeMember("strong", "It is Paris.")]
    prior = MemberPrior.declared(strengths)
    blender = Blender(members, ranker=ranker, fuser=None, member_prior=prior)
    result = blender.blend("Capital of France?")
    assert (result.winner, result.degraded) == ("strong", ())
    assert prior.preference("strong", "weak") > 0.6


def test_a_ranker_that_is_clearly_of_another_opinion_still_wins():
    prior = MemberPrior.declared({"strong": 0.8, "weak": 0.5})
    assert prior.blend(["strong", "weak"], ranking([0.0, 1.3])).best == 0
    assert prior.blend(["strong", "weak"], ranking([0.0, 1.5])).best == 1
    assert prior.blend(["strong", "weak"], ranking([0.0, 13.0], temperature=10.0)).best == 0


@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=12, unique=True), st.randoms())
def test_declared_shares_are_kept_as_odds(shares, random):
    names = [f"m{place}" for place in range(len(shares))]
    declared = dict(zip(names, shares, strict=True))
    prior = MemberPrior.declared(declared)
    shuffled = random.sample(names, len(names))
    odds = {name: round(math.log(share / (1 - share)), 8) for name, share in declared.items()}
    found = [odds[name] for name in prior.strongest_first(shuffled)]
    assert found == sorted(odds.values(), reverse=True)
    strengths = prior.strengths()
    difference = strengths[names[0]].mean - strengths[names[1]].mean
    assert difference == pytest.approx(odds[names[0]] - odds[names[1]], abs=1e-6)
    assert prior.preference(names[0], names[1]) == pytest.approx(1 - prior.preference(names[1], names[0]))


@pytest.mark.parametrize(("count", "first"), [(0, "a"), (5, "a"), (10, "a"), (12, "b"), (20, "b")])
def test_ratings_turn_a_declaration_round(count, first):
    # the docstring says about 11
    prior = MemberPrior.declared({"a": 0.75, "b": 0.5})
    for _ in range(count):
        prior.judge("b", "a")
    assert prior.strongest_first(["a", "b"])[0] == first


def test_rankings_refine_a_declaration_and_do_not_wash_it_out():
    agreeing, nothing, against = (MemberPrior.declared(["a", "b"]) for _ in range(3))
    noise = np.random.default_rng(0).normal(size=(100, 2))
    for row in noise:
        agreeing.observe(["a", "b"], ranking(row + np.array([1.0, 0.0])))
        nothing.observe(["a", "b"], ranking(row))
        against.observe(["a", "b"], ranking(row - np.array([1.0, 0.0])))
    known = [prior.preference("a", "b") for prior in (agreeing, nothing, against)]
    assert known == sorted(known, reverse=True)
    assert known[1] == pytest.approx(MemberPrior.declared(["a", "b"]).preference("a", "b"), abs=0.03)


def test_unknown_and_equal_members_keep_their_order():
    nothing = MemberPrior()
    assert nothing.strongest_first(["b", "a"]) == ("b", "a")
    assert nothing.preference("a", "b") == 0.5
    prior = MemberPrior.declared({"a": 0.5, "b": 0.5, "c": 0.9, "d": 0.1})
    assert prior.strongest_first(["d", "b", "new", "a", "c"]) == ("c", "b", "new", "a", "d")
    assert prior.preference("c", "new") == 0.5


@settings(max_examples=30)
@given(st.permutations([("a", "b"), ("b", "c"), ("a", "c"), ("c", "a"), ("d", "a")]), st.integers(1, 4))
def test_preference_agrees_with_the_order(ratings, times):
    prior = MemberPrior()
    for better, worse in list(ratings) * times:
        prior.judge(better, worse)
    ordered = prior.strongest_first(NAMES)
    for first, second in itertools.pairwise(ordered):
        assert 0.5 - 1e-6 <= prior.preference(first, second) < 1.0


# -- rated prompts ---------------------------------------------------------------------------------------------


def test_a_rated_prompt_is_known_replaced_and_taken_back():
    prior = MemberPrior()
    prior.judge_answers(["a", "b"], ranking([0.0, 0.0]), [1, 0], prompt="Capital?")
    assert prior.is_rated("Capital?", ["b", "a"])
    assert not prior.is_rated("Capital?", ["a", "c"])
    prior.judge_answers(["a", "b"], ranking([0.0, 0.0]), [0, 1], prompt="Capital?")
    assert prior.strongest_first(["a", "b"]) == ("b", "a")
    prior.forget("Capital?", ["a", "b"])
    assert not prior.is_rated("Capital?", ["a", "b"])
    assert prior.strengths() == {}
    assert "Capital?" not in str(prior.to_dict())


# -- kept in a file ------------------------------------------------------------------------------------------


def test_a_prior_with_a_path_keeps_itself(tmp_path):
    path = tmp_path / "prior.json"
    prior = MemberPrior.declared(["a", "b"], path=path, text_reliability=0.4)
    prior.judge_answers(["a", "b"], ranking([0.0, 0.0]), [0, 1], prompt="Capital?")
    prior.judge("a", "b")
    again = MemberPrior(path=path)
    assert again.to_dict() == prior.to_dict()
    assert again.is_rated("Capital?", ["a", "b"])
    prior.forget("Capital?", ["a", "b"])
    assert MemberPrior.load(path).to_dict() == prior.to_dict()
    assert list(tmp_path.glob(".*")) == []


def test_learned_rankings_are_saved_by_the_end(tmp_path):
    path = tmp_path / "prior.json"
    prior = MemberPrior(path=path)
    for _ in range(10):
        prior.observe(NAMES, ranking([3, 2, 1, 0]))
    assert not path.exists()
    prior.save()
    assert MemberPrior.load(path).prompts == 10
    prior.observe(NAMES, ranking([3, 2, 1, 0]))
    del prior
    gc.collect()
    assert MemberPrior.load(path).prompts == 11


def test_two_objects_with_one_path_lose_nothing(tmp_path):
    one, other = (MemberPrior(path=tmp_path / "prior.json") for _ in range(2))
    one.judge("a", "b")
    other.judge("a", "c")
    other.observe(["a", "b"], ranking([1.0, 0.0]))
    one.judge("d", "a")
    other.save()
    one.save()
    assert one.to_dict() == other.to_dict() == MemberPrior.load(tmp_path / "prior.json").to_dict()
    assert one.strengths().keys() == set(NAMES)


def test_two_processes_that_write_at_once_lose_nothing(tmp_path):
    program = (
        "import sys; from blender_core import MemberPrior, Ranking\n"
        "prior = MemberPrior(path=sys.argv[1])\n"
        "for number in range(25):\n"
        "    prior.judge('a', 'b')\n"
        "    prior.observe(['a', 'b'], Ranking.from_scores([1.0, 0.0], ranker='fake'))\n"
        "    prior.judge_answers(['a', 'b'], Ranking.from_scores([1.0, 0.0], ranker='fake'), [1, 0],\n"
        "        prompt=f'{sys.argv[2]} {number}')\n"
    )
    path = tmp_path / "prior.json"
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("one", "two")]
    assert [process.wait() for process in running] == [0, 0]
    state = MemberPrior.load(path).to_dict()
    assert state["judged"] == [["a", "b", 50.0, 50.0]]
    assert len(state["rated"]) == 50
    assert state["rankers"]["fake"]["prompts"] == 50


@pytest.fixture
def full_disk(monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        yield patch


def test_a_rating_that_cannot_be_saved_raises_and_is_saved_later(tmp_path, full_disk):
    path = tmp_path / "prior.json"
    prior = MemberPrior(path=path)
    with pytest.raises(ConfigurationError, match="No space left"):
        prior.judge("a", "b")
    full_disk.undo()
    assert not path.exists()
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".lock"] == []
    prior.judge("a", "c")
    assert MemberPrior.load(path).to_dict()["judged"] == [["a", "b", 1.0, 1.0], ["a", "c", 1.0, 1.0]]


def test_a_ranking_that_cannot_be_saved_is_told_in_the_result(tmp_path, full_disk, monkeypatch):
    monkeypatch.setattr("blender_core.rank.prior_file._BUNDLE_S", 0.0)
    prior = MemberPrior(path=tmp_path / "prior.json")
    result = Blender([str.upper, str.lower], ranker="longest", fuser=None, member_prior=prior).blend("Hi")
    assert result.text == "HI"
    assert "could not be saved" in result.degraded[0]
    assert prior.prompts == 1
    full_disk.undo()
    prior.save()
    assert MemberPrior.load(tmp_path / "prior.json").prompts == 1


def test_a_damaged_file_is_not_written_over(tmp_path):
    path = tmp_path / "prior.json"
    prior = MemberPrior(path=path)
    path.write_text("[1", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        prior.judge("a", "b")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        MemberPrior(path=path)
    assert path.read_text(encoding="utf-8") == "[1"


def test_a_copy_leaves_the_file_alone(tmp_path):
    prior = MemberPrior(path=tmp_path / "prior.json")
    prior.judge("a", "b")
    copy = pickle.loads(pickle.dumps(prior))
    copy.judge("a", "b")
    assert MemberPrior.load(tmp_path / "prior.json").to_dict() == prior.to_dict() != copy.to_dict()

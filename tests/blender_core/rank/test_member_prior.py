"""Strengths of members, learned from scores without labels."""

import math
import pickle
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
    stored = learned(simulate([1.0, 0.0, 0.0, -1.0], 5, 1.0)).to_dict()
    old = {name: value for name, value in stored.items() if name != "rated"} | {"format": 1}
    assert MemberPrior.from_dict(old).to_dict() == stored


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
        (lambda p, path: p.observe(["a", "b"], Ranking.from_scores([1, 2], ranker="other")), "'fake'"),
        (lambda p, path: p.judge("a", "a"), "two different"),
        (lambda p, path: p.judge("a", "b", 1.5), "probability"),
        (lambda p, path: p.judge_answers(NAMES, ranking([1.0, 2.0, 3.0, 4.0]), [1, 0]), "ratings are"),
        (lambda p, path: p.judge_answers(["a", "b"], ranking([1.0, 2.0]), [1, math.nan]), "finite"),
        (lambda p, path: p.judge_answers(["a", "b"], Ranking.from_scores([1, 2], ranker="other"), [1, 0]), "'fake'"),
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


@pytest.mark.parametrize(
    "damage",
    [
        {"answers": [1]},
        {"answers": {"a": -1}},
        {"prompts": math.inf},
        {"freedom": -1},
        {"freedom": 10**400},
        {"temperature": 0.0},
        {"temperature": math.nan},
        {"temperature": 1e300},
        {"text_reliability": math.nan},
        {"margins": [["a", "other", 1, 1, 1]]},
        {"margins": [["a", "a", 1, 1, 1]]},
        {"margins": [["a", "b", math.nan, 1, 1]]},
        {"margins": [["a", "b", 1, math.inf, 1]]},
        {"margins": [["a", "b", 0, 1, 1]]},
        {"margins": [["a", "b", 1, 1, -1]]},
        {"margins": [["a", "b", 1, 1, 1e300]]},
        {"margins": [["a", "b", 1]]},
        {"judged": [["a", "b", 1.0, 5.0]]},
        {"judged": [["a", "b", math.nan, 0.0]]},
        {"judged": [["a", "a", 1.0, 1.0]]},
        {"rated": [["a", "b", math.nan, 1.0, 0.5]]},
        {"rated": [["a", "b", None, 1.0, 0.5]]},
        {"rated": [["a", "b", 1.0, 2.0, 0.5]]},
        {"rated": [["a", "b", 1.0, 1.0, 0.0]]},
        {"rated": [["a", "a", 1.0, 1.0, 0.5]]},
    ],
    ids=str,
)
def test_damaged_state_is_refused(damage):
    assert MemberPrior.from_dict(stored()).prompts == 3
    with pytest.raises(ConfigurationError):
        MemberPrior.from_dict({**stored(), **damage})


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


def test_a_prior_of_another_ranker_is_set_aside_and_said():
    prior = learned([[1.0, 0.0, 0.0, 0.0]])
    result = Blender([str.upper, str.lower], ranker="longest", fuser=None, member_prior=prior).blend("Hi")
    assert "member prior" in result.degraded[0]
    assert "'longest'" in result.degraded[0]


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

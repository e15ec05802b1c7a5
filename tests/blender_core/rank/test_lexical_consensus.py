"""Agreement among the candidates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.rank import distinct_candidates
from blender_core.rank.final_answer import final_answer, short_answer
from blender_core.rank.length import LongestRanker
from blender_core.rank.lexical_consensus import LexicalConsensusRanker, measure_agreement


def test_the_answer_that_shares_most_wins():
    candidates = ["The cat sat on a mat.", "The cat sat on the mat.", "Bananas are yellow."]
    assert LexicalConsensusRanker().rank("?", candidates).order[-1] == 2


def test_copies_count_as_votes():
    ranking = LexicalConsensusRanker().rank("?", ["Rome", "Paris", "Paris", " Paris"])
    assert ranking.best == 1
    assert ranking.order[-1] == 0


def test_final_answers_outweigh_shared_words():
    shared = "We add the two numbers one after the other and find the sum."
    candidates = [f"{shared} The answer is 5.", "Answer: 4", "It is plain: the answer is 4."]
    assert LexicalConsensusRanker().rank("2 + 2?", candidates).order[-1] == 0
    assert LexicalConsensusRanker(final_answer_weight=0.0).rank("2 + 2?", candidates).best != 1


def test_two_candidates_tie():
    ranking = LexicalConsensusRanker().rank("?", ["Paris is the capital", "It is Rome, the capital"])
    assert ranking.ties == ((0, 1),)


def test_one_candidate_and_blanks():
    ranking = LexicalConsensusRanker().rank("?", ["", "Paris"])
    assert ranking.order == (1, 0)
    assert ranking.confidence == 1.0


def test_scripts_without_spaces_are_compared_by_character():
    texts = ["東京は日本の首都です", "首都は東京です", "バナナは黄色い"]
    assert LexicalConsensusRanker().rank("?", texts).order[-1] == 2


@given(st.lists(st.text(alphabet="ab 1.", max_size=12), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_scores_stay_with_their_texts(candidates, random):
    scores = LexicalConsensusRanker().rank("?", candidates).scores
    order = list(range(len(candidates)))
    random.shuffle(order)
    shuffled = LexicalConsensusRanker().rank("?", [candidates[index] for index in order]).scores
    assert [scores[index] for index in order] == pytest.approx(shuffled)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_agreement_is_a_share(candidates):
    agreement = measure_agreement(distinct_candidates(candidates))
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in (*agreement.overlap, *agreement.final))


def test_the_longest_wins():
    ranking = LongestRanker().rank("?", ["aa", "aaaa", " " * 9, "aaa"])
    assert ranking.order == (1, 3, 0, 2)
    assert ranking.confidence == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So the answer is (B).", "b"),
        ("The answer is A because of this", "a"),
        ("The final answer is: **42**", "42"),
        ("Answer: $1,234.50 per year", "1234.5"),
        ("#### -7", "-7"),
        (r"Hence \boxed{\frac{1}{2}}.", "frac12"),
        (r"The answer is $\boxed{12}$", "12"),
        ("The answer is 3. No, the answer is 4.", "4"),
        ("answer: 3/4 of it", "3/4"),
        ("Answer: Paris", "paris"),
        ("Answer: 007", "7"),
        ("12 - 8 = 4\nA: 4", "4"),
        ("There are many answers to this.", None),
        ("The answer is", None),
        ("", None),
    ],
)
def test_final_answer(text, expected):
    assert final_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48", "48"),
        ("`1,200`", "1200"),
        ("14 + 34 = 48", "48"),
        ("75 divided by 5 is 15.", "15"),
        ("The total is $12.50", "12.5"),
        ("(B)", "b"),
        ("b.", "b"),
        ("Paris.", "paris"),
        ("A cat", "a cat"),
        ("No, not yet.", "no not yet"),
        ("It took place in 1492.", None),
        ("The first step is 1.\nThe second step is 2", None),
        ("The capital of France is Paris.", None),
        ("パリ", "パリ"),
        ("パリはフランスの首都であり、" * 4, None),
        ("", None),
    ],
)
def test_short_answer(text, expected):
    assert short_answer(text) == expected


def test_a_short_answer_is_a_vote_where_most_answers_are_short():
    votes = measure_agreement(distinct_candidates(["48", "14 + 34 = 48", "58", "It may be 48, but who knows?"])).final
    assert votes == (1 / 3, 1 / 3, 0.0, 0.0)
    longer = ["It is a long way to Rome.", "All roads lead to Rome.", "Follow the coast, then turn."]
    assert measure_agreement(distinct_candidates(["Rome", "Rome.", *longer])).final == (0.0,) * 5

"""Agreement among the candidates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.rank.baselines import LongestRanker
from blender_core.rank.lexical_consensus import LexicalConsensusRanker, measure_agreement
from blender_core.text.distinct import distinct_candidates
from blender_core.text.final_answer import final_answer, short_answer


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
        (r"Hence \boxed{\frac{1}{2}}.", "1/2"),
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
    "answers",
    [
        ("Answer: I do not know.", "Answer: I am not sure.", "Answer: I"),
        ("Answer: A towel", "Answer: A sponge", "Answer: A"),
        ("Answer: C++", "Answer: C#", "Answer: C"),
        (r"\boxed{2\sqrt{3}}", r"\boxed{2\sqrt{2}}", r"\boxed{2\pi}", r"\boxed{2}"),
        (r"\boxed{3x+2}", r"\boxed{3x-5}", r"\boxed{3}"),
        (r"\boxed{(1, 2)}", r"\boxed{(1, 3)}", r"\boxed{1}"),
        (r"\boxed{\frac{1}{12}}", r"\boxed{\frac{11}{2}}"),
        (r"\boxed{\frac{\sqrt{3}}{2}}", r"\boxed{\frac{\sqrt{2}}{3}}"),
        ("Answer: \u22123", "Answer: 3"),
        ("Answer: 12 March 1918", "Answer: 12 May 1820"),
        ("Answer: 10:30", "Answer: 10:45", "Answer: 10"),
        ("Answer: 5 million", "Answer: 5 billion"),
        ("Answer: 1e6", "Answer: 1e9", "Answer: 1"),
        ("Answer: \u00bd", "Answer: \u2153", "Answer: 1"),
        ("Answer: 1\u00bd", "Answer: 11/2"),
        ("Answer: 10\u00b2", "Answer: 102"),
        ("Answer: 2**10", "Answer: 210"),
        ("\u221a2", "2"),
        ("C#", "C"),
        ("1.2.3", "1.2.4"),
        ("3 km", "3 miles"),
        ("x = \u22123", "x = 3"),
    ],
)
def test_other_answers_are_no_votes(answers):
    assert measure_agreement(distinct_candidates(answers)).final == (0.0,) * len(answers)


@pytest.mark.parametrize(
    "answers",
    [
        ("Answer: 42", "Answer: 42 apples", "#### 42", r"\boxed{42}", "The answer is 42 apples in total."),
        ("The answer is (C).", "Answer: C", "Answer: C) Paris", "Answer: (C) Paris", "Answer: C, as it is in France"),
        ("Answer: 12 (twelve)", "Answer: 12; the rest is gone", "Answer: x = 12", r"\boxed{x = 12}"),
        (r"\boxed{\frac{1}{2}}", r"\boxed{\dfrac{1}{2}}", "Answer: 1/2", "Answer: \u00bd"),
        (r"\boxed{2 \sqrt{3}}", r"\boxed{2\sqrt{3}}", r"\boxed{2\,\sqrt{3}}"),
        ("Answer: 5%", "Answer: 5 percent", r"\boxed{5\%}", "Answer: 5"),
        ("Answer: 2**10", "Answer: **2**10**"),
        (r"\boxed{(1, 2)}", r"\boxed{(1,2)}", r"\boxed{\left(1, 2\right)}"),
        ("Answer: John Steinbeck.", "The answer is **John Steinbeck**"),
    ],
)
def test_one_answer_in_several_forms_is_one_vote(answers):
    assert measure_agreement(distinct_candidates(answers)).final == (1.0,) * len(answers)


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


# in these a search that tries every length of the white space would take minutes
@pytest.mark.parametrize("run", ["total =" + " " * 200_000, "it is $" + " " * 200_000, "= 1" + " " * 200_000 + "/"])
def test_long_runs_of_white_space_are_no_final_answer(run):
    assert short_answer(f"so {run} who knows") is None
    assert short_answer(f"{run} 4") == ("1/4" if "/" in run else "4")

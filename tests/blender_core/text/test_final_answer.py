"""Final answers of texts with any characters."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blender_core.rank import EmbeddedRanker, LexicalConsensusRanker
from blender_core.text.final_answer import final_answer, merge_units, short_answer

SPACES = ["\t", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\u1680", "\u2028", "\u3000"]


@given(st.text())
@example("0\x1f")
@example("7\r\n")
@example("\x1f")
def test_any_text_has_an_answer_or_none(text):
    for stated in (text, f"Answer: {text}", f"#### {text}", f"\\boxed{{{text}}}", f"A: {text} = {text}"):
        for found in (final_answer(stated), short_answer(stated)):
            assert found is None or (found == found.strip() and found)


@given(st.lists(st.none() | st.text(), max_size=5))
def test_any_answers_keep_their_places(answers):
    merged = merge_units(answers)
    assert [answer is None for answer in merged] == [answer is None for answer in answers]


@pytest.mark.parametrize("space", SPACES)
def test_every_kind_of_white_space_ends_an_answer(space):
    assert final_answer(f"So it is.\nAnswer: 61{space}") == "61"
    assert final_answer(f"The answer is 61 metres{space}") == "61 metres"
    assert final_answer(f"\\boxed{{61{space}}}") == "61"
    assert short_answer(f"{space}61{space}") == "61"


@pytest.mark.parametrize("end", ["\r\n", "\r", "\x85", "\u2028", "\u2029"])
def test_every_kind_of_line_end_ends_an_answer(end):
    assert final_answer(f"Adding up.{end}#### 61{end}Tell me if you need more.") == "61"
    assert final_answer(f"Answer: B{end}Because of 7.") == "b"
    assert short_answer(f"61{end}7") is None


def test_a_line_break_in_a_box_is_no_part_of_the_answer():
    assert final_answer("\\boxed{\n61\n}") == final_answer("\\boxed{61}") == "61"


@pytest.mark.parametrize("text", ["3\x1f", "Answer: 3\x1f", "Answer: 3\r\nBye", "\\boxed{3\n}"])
def test_rankers_read_odd_white_space(text):
    for ranker in (LexicalConsensusRanker(), EmbeddedRanker.load()):
        ranking = ranker.rank("1 + 2?", [text, "3", "4"])
        assert ranking.order[2] == 2
        assert all(map(math.isfinite, ranking.scores))


@pytest.mark.parametrize(("words", "found"), [(25, "48"), (26, None)])
def test_a_sentence_that_ends_with_a_number_may_have_25_words(words, found):
    assert short_answer(" ".join(["so"] * (words - 3)) + " it is 48.") == found

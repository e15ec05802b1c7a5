"""Blank and duplicate candidates among any texts."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from blender_core.text.distinct import distinct_candidates


@given(st.lists(st.text(), min_size=1, max_size=6))
@example(["\x1f", "\u2028", "a\x1fb", "a b"])
def test_any_candidates_have_a_place_or_are_blank(candidates):
    distinct = distinct_candidates(candidates)
    for text, position in zip(candidates, distinct.positions, strict=True):
        assert (position is None) == (not text.strip())
    assert {position for position in distinct.positions if position is not None} == set(range(len(distinct.texts)))
    assert list(distinct.texts) == list(dict.fromkeys(text for text in candidates if text in distinct.texts))
    scores = distinct.spread_scores([1.0] * len(distinct.texts))
    assert [score == -math.inf for score in scores] == [not text.strip() for text in candidates]


@given(st.text().filter(str.strip))
def test_white_space_makes_no_other_candidate(text):
    distinct = distinct_candidates([text, f" {text}\x1f", "\u2003".join(text.split())])
    assert distinct.positions == (0, 0, 0)
    assert distinct.texts == (text,)


def test_cut_tokens_go_to_every_copy_and_the_prompt_keeps_its_own():
    distinct = distinct_candidates(["a", "b", "a", " "])
    assert distinct.spread_cut({-1: 7, 0: 3}) == {-1: 7, 0: 3, 2: 3}
    assert distinct.spread_cut({1: 3}) == {1: 3}

"""Prompt and answer in one window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blender_core.models.segments import SegmentLayout, cut_middle

LAYOUT = SegmentLayout(cls_token=1, sep_token=2, cut_marker=3)
tokens = st.lists(st.integers(10, 99), max_size=80)


@given(prompt=tokens, answer=tokens, window=st.integers(8, 100))
def test_nothing_is_lost_unsaid(prompt, answer, window):
    row = LAYOUT.join(prompt, answer, window)
    assert len(row.token_ids) <= window
    assert row.token_ids[0] == 1
    assert row.token_ids[row.answer_start - 1] == row.token_ids[-1] == 2
    kept_prompt = [token for token in row.token_ids[1 : row.answer_start - 1] if token != 3]
    kept_answer = [token for token in row.token_ids[row.answer_start : -1] if token != 3]
    assert len(kept_prompt) + row.prompt_cut == len(prompt)
    assert len(kept_answer) + row.answer_cut == len(answer)
    if len(prompt) + len(answer) + 3 <= window:
        assert (row.prompt_cut, row.answer_cut) == (0, 0)


def test_free_room_goes_to_the_other_side():
    row = LAYOUT.join(list(range(10, 60)), [9], 60)
    assert row.prompt_cut == row.answer_cut == 0
    row = LAYOUT.join([9], list(range(10, 67)), 60)
    assert (row.prompt_cut, row.answer_cut) == (0, 2)


def test_beginning_and_end_are_kept():
    kept, cut = cut_middle(list(range(100)), 11, marker=-1, head_share=0.6)
    assert kept == [0, 1, 2, 3, 4, 5, -1, 96, 97, 98, 99]
    assert cut == 90

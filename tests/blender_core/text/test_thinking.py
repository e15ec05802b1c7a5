"""Thoughts are told from the answer, in a whole text and in a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.text.thinking import ThinkingFilter, split_thinking


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("Paris", "", "Paris"),
        ("<think>hm</think>Paris", "hm", "Paris"),
        (" <THINKING>\nhm\n</THINKING>\n Paris", "hm", "Paris"),
        ("<think>one</think><think>two</think>Paris", "one\n\ntwo", "Paris"),
        ("<think></think>\n\nParis", "", "Paris"),
        ("<think>cut off", "cut off", ""),
        ("hm\n</think>\n\nParis", "hm", "Paris"),
        ("The tag </think> ends a thought.", "", "The tag </think> ends a thought."),
        ("Write <think>\nthus\n</think>\nand go on.", "", "Write <think>\nthus\n</think>\nand go on."),
    ],
)
def test_thinking_is_told_from_the_answer(text, thought, answer):
    assert split_thinking(text) == (thought, answer)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<thinking>", "</thinking>", " ", "\n", "a", "<", "b c"])),
       st.data())  # fmt: skip
def test_a_stream_shows_what_the_whole_would(tokens, data):
    text = "".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    stream = ThinkingFilter()
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown = "".join(stream.take(piece) for piece in pieces) + stream.rest()
    opened = text.lstrip().startswith("<think")
    assert shown == (split_thinking(text)[1] if opened else text)

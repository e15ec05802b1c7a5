"""Thoughts are told from the answer, in a whole text and in a stream."""

from __future__ import annotations

import re

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


TAGS = ["<think>", "</think>", "<thinking>", "</THINKING>", "<thin\u212a>"]
PARTS = [*TAGS, " ", "\n", "a", "<", "b c", "\u0130", "\x1f"]


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=3)), st.data())
def test_a_stream_shows_what_the_whole_would(tokens, data):
    text = "".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    stream = ThinkingFilter()
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    thoughts, shown = map("".join, zip(*map(stream.take, pieces), stream.rest(), strict=True))
    opened = text.lstrip().startswith(("<think>", "<thinking>"))
    thought, answer = split_thinking(text)
    assert shown == (answer if opened else text)
    # a stream shows white space at the end of a thought before it knows that it is the end
    assert re.sub(r"\s+\n\n", "\n\n", thoughts).rstrip() == (re.sub(r"\s+\n\n", "\n\n", thought) if opened else "")


@given(st.text(), st.text())
def test_every_thought_is_told_apart(thought, answer):
    thought, answer = thought.replace("<", ""), f"x{answer}"
    assert split_thinking(f"<think>{thought}</think>{answer}") == (thought.strip(), answer)
    assert "".join(split_thinking(answer)[1:]) in answer


@pytest.mark.parametrize("thought", ["\u0130stanbul", "\u0130" * 40, "\ufb03"])
def test_letters_that_grow_in_lower_case_take_nothing_from_the_answer(thought):
    stream = ThinkingFilter()
    assert stream.take(f"<think>{thought}</think>Ankara is the capital.") == (thought, "Ankara is the capital.")


@pytest.mark.parametrize("tag", ["th\u0130nk", "thin\u212a"])
def test_letters_that_only_resemble_a_tag_open_no_thought(tag):
    text = f"<{tag}>hm</{tag}>Paris"
    stream = ThinkingFilter()
    assert stream.take(text)[1] + stream.rest()[1] == split_thinking(text)[1] == text

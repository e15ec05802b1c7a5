"""Normal forms of texts that nobody vouches for."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.text import unicode as module
from blender_core.text.distinct import distinct_candidates
from blender_core.text.unicode import normalize
from blender_core.types.answer import ToolCall
from blender_core.types.votes import normalised_call

MARKS = "\u0301\u0323"


@given(st.text(), st.sampled_from(["NFC", "NFKC"]))
def test_ordinary_text_is_normalised(text, form):
    assert normalize(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize(
    "text", ["a" + MARKS * 15, ("a" + MARKS * 15) * 3, "\u2500" * 100, "\uff9e" * 30, "\U0001f600" * 99]
)
def test_so_many_marks_and_long_lines_are_normalised(text):
    assert normalize("NFKC", text) == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize("marks", [MARKS, "\u0f71\u0f73", "\uff9e\u0301"])
def test_long_runs_of_marks_stay_as_they_are(marks):
    # sorting these would take minutes
    text = "\u00bd a" + marks * 200_000
    assert normalize("NFKC", text) == text


def test_every_mark_is_looked_for():
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code < 0xE000 and module._is_mark(chr(code)):
            assert module._MAYBE_MARKS.fullmatch(chr(code) * 31), hex(code)


def test_rankers_and_votes_bear_long_runs_of_marks():
    text = "a" + MARKS * 200_000
    assert distinct_candidates([text, text + " ", "b"]).positions == (0, 0, 1)
    assert normalised_call(ToolCall("say", {"words": text + " "})) == normalised_call(ToolCall("say", {"words": text}))

"""Reading a judge's reply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.rank.verdicts import read_verdict

A, B, TIE, NOTHING = 1, -1, 0, None


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Better: A", A),
        ("better: b.", B),
        ("**Better:** B", B),
        ("__Better:__ _B_", B),
        ("(_Better_: __A__)", A),
        ("Better: snake_case", NOTHING),
        ("Better: tie", TIE),
        ("Better: Answer A", A),
        ("Better: [B]", B),
        ("Better: answer_b", B),
        ("Better: <answer_a>", A),
        ("A", A),
        (" (B) ", B),
        ("'B'", B),
        ("Answer B", B),
        ("2", B),
        ("The first answer", A),
        ("Tie.", TIE),
        ("[[A]]", A),
        ("My final verdict is: [[B]]", B),
        ("[[C]]", TIE),
        ("The better answer is A.", A),
        ("The winner is B", B),
        ("Answer A is better because it is right.", A),
        ("The second answer is clearly better.", B),
        ("Response 1 is worse than response 2.", A * -1),
        ("Both answers are equally good.", TIE),
        ("It's a tie", TIE),
        ("Answer A wins.", A),
        ("A names the capital, B does not.\nBetter: A", A),
        ("Better: A\nWait, no.\nBetter: B", B),
        ("<think>Better: A, or rather not</think>Better: B", B),
        ("<think>A is better, but is it", NOTHING),
        ("B\n\nBecause it names the capital.", B),
        ("Because it names the capital:\n\nA", A),
        ("", NOTHING),
        ("I cannot judge this.", NOTHING),
        ("A or B?", NOTHING),
        ("Answer A is better. Answer B is better.", NOTHING),
        ("Answer A is not better.", NOTHING),
        ("A better answer would name the capital.", NOTHING),
        ("The answer is a better one.", NOTHING),
        ("Better: 42", NOTHING),
    ],
)
def test_reading(reply, expected):
    assert read_verdict(reply) == expected


@given(st.text(alphabet="ABab12 .:[]\nbetrisn", max_size=60))
def test_any_reply_can_be_read(reply):
    assert read_verdict(reply) in (1, 0, -1, None)


# in these a search that tries every length of a run would take minutes
@pytest.mark.parametrize(
    "run",
    [
        "better" + " " * 200_000 + "answer" + " " * 200_000,
        "Better: " + "[" * 200_000,
        "the answer" + "_" * 200_000 + "?",
        "both" + " " * 200_000,
        "neither" + "\n" * 200_000,
        "<think>" * 50_000,
        "a" + "_" * 200_000 + "b",
    ],
    ids=lambda run: run[:10],
)
def test_long_runs_change_no_verdict(run):
    assert read_verdict(f"Better: B\nor {run} or so") == B

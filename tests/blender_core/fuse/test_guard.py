"""The guard lets good fusions through and stops degenerate ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.fuse import FusionGuard

GUARD = FusionGuard()
BEST = "Water boils at 100 degrees Celsius at sea level; the boiling point falls with altitude. " + " ".join(
    f"Point {n} is {n * 3}." for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("...", "empty"),
        ("I apologize, I can't help.", "apology"),
        ("As an AI language model, I have no view.", "apology"),
        ("I\u2019m sorry", "apology"),
        ("Candidate 1 says water boils at 100 degrees, candidate 2 agrees and so on.", "talks about"),
        ("Hot.", "a fraction"),
        ("one two three four " * 25, "repeats"),
        ("x" * 5000, "more than 3 times"),
    ],
)
def test_what_is_stopped(text, reason):
    best = BEST if "more than" not in reason else "Water boils at 100 degrees."
    assert reason in GUARD.check(text, [best, "It boils."])


@pytest.mark.parametrize(
    "text",
    [
        "Water boils at 100 degrees Celsius at sea level, and at less than that on a mountain, where the air is thin.",
        "There are many candidates for the job of boiling water, and this is how they compare: kettles, pots, pans.",
    ],
)
def test_what_passes(text):
    assert GUARD.check(text, [BEST, "It boils."]) is None


def test_short_answers_may_be_fused_into_shorter_ones():
    assert GUARD.check("4", ["The sum of two and two is four, or 4."]) is None


def test_an_apology_in_an_answer_is_no_refusal():
    best = "I'm sorry for your loss. Here is what to do next."
    assert GUARD.check("I'm sorry for your loss. First, rest.", [best]) is None


def test_a_loop_is_stopped_where_the_best_answer_loops_too():
    best = "buy milk today please now " * 20
    assert "repeats" in GUARD.check(best, [best])


def test_a_beginning_is_not_judged_by_its_length():
    assert GUARD.check("Water", [BEST], complete=False) is None
    assert "apology" in GUARD.check("I'm sorry", [BEST], complete=False)


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_any_text_gets_a_verdict_and_blank_never_passes(text, candidates):
    verdict = GUARD.check(text, candidates)
    assert verdict is None or verdict
    if not text.strip():
        assert verdict


@pytest.mark.parametrize(("best", "fused", "reason"), [(200, 1, None), (201, 1, "fraction"), (201, 41, None)])
def test_the_shortest_fused_text(best, fused, reason):
    found = GUARD.check("x" * fused, ["y" * best])
    assert found is None if reason is None else reason in found


def test_the_longest_fused_text():
    words = [f"w{number}" for number in range(300)]
    longest = " ".join(words)[: 3 * 30 + 200].rstrip()
    candidates = ["y" * ((len(longest) - 200) // 3)]
    exact = longest[: 3 * len(candidates[0]) + 200]
    assert GUARD.check(exact, candidates) is None
    assert "more than 3 times" in GUARD.check(exact + "!", candidates)

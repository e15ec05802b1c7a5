"""Checking the calculations that a text states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.text.arithmetic import calculation_score, evaluate


@given(
    st.integers(-999, 999), st.integers(1, 999), st.sampled_from("+-*/"), st.integers(1, 99), st.sampled_from("+-*/")
)
def test_evaluates_as_python_does(a, b, first, c, second):
    expression = f"{a} {first} {b} {second} {c}"
    assert evaluate(expression) == pytest.approx(eval(expression))
    assert evaluate(f"({a} {first} {b}) {second} {c}") == pytest.approx(eval(f"({a} {first} {b}) {second} {c}"))


@pytest.mark.parametrize("text", ["", "2 +", "2 3", "(2", "2)", "two", "1 / 0", "2 ** 3", "1" * 500, "1.2.3"])
def test_what_is_no_expression(text):
    assert evaluate(text) is None


@given(st.text(max_size=60), st.text(max_size=200))
def test_any_text_has_a_score(prompt, answer):
    assert -1.0 <= calculation_score(prompt, answer) <= 1.0


@pytest.mark.parametrize(
    ("prompt", "answer", "score"),
    [
        ("What is 23 + 45?", "68", 1),
        ("What is 23 + 45?", "The answer is 67.", -1),
        ("What is 23 + 45?", "I do not know.", 0),
        ("What is 12 \u00d7 3?", "12 \u00d7 3 = 36", 1),
        ("What is 7 - 9?", "-2", 1),
        ("What is 1200 * 3?", "That makes 3,600.", 1),
        ("How many apples?", "She has 3 + 4 = 7 apples, then 7 - 2 = 5.", 1),
        ("How many apples?", "She has 3 + 4 = 8 apples.", -1),
        ("How many apples?", "First 3 + 4 = 7, then 7 * 2 = 15.", 0),
        ("How much?", "$2.50 * 3 = $7.50", 1),
        ("How much?", "10 / 3 = 3.33", 1),
        ("Order of operations?", "2 + 3 * 4 = 14", 1),
        ("Chain?", "2 + 2 = 4 = 8 / 2", 1),
        # no calculation is asked for, or stated
        ("What happened in 2019-2020?", "2019 was warm.", 0),
        ("Is 5/3/2021 a Monday?", "No, 5/3/2021 = Wednesday.", 0),
        ("What is RFC 2 + 3 about, and 4 + 5?", "About 7.", 0),
        ("What is x?", "x = 5, so 2x = 10 and y2 = 7", 0),
        ("Roots?", "x^2 + 12 = 0, and 2x + 3 = 4x, y_2 + 1 = 5", 0),
        ("Powers?", "2 + 2 = 2^2", 0),
        ("Python?", "x1 = 3\nfor i in range(3): x1 += 2", 0),
        ("Chapter 3 - 4?", "See page 12.", 0),
        ("Wie viel ist 3 - 4?", "-1", 1),
        ("3 - 4 =", "1", -1),
    ],
)
def test_scores(prompt, answer, score):
    assert calculation_score(prompt, answer) == score


def test_a_huge_text_is_read_in_part():
    wrong_at_the_end = "1 + 1 = 2; " * 500_000 + "1 + 1 = 3."
    assert calculation_score("1 + 1 " * 100_000, wrong_at_the_end) == 1.0
    assert calculation_score("?", "(" * 5_000_000) == 0.0
    assert calculation_score("?", "1+" * 2_000_000) == 0.0

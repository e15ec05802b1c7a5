"""Checks: what is right passes however it is dressed, what is wrong does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab.mix.scoring import CHECK_KINDS, passes, validate_check


def number(value, **more):
    return {"kind": "number", "value": value, **more}


RIGHT = [
    (number(42), "42"),
    (number(42), "**42**"),
    (number(42), "6 * 7 = 42"),
    (number(42), "17 + 25 = 42. So 42 apples are left."),
    (number(42), "The answer is 42 because 6 times 7 makes it."),
    (number(42), r"\(\boxed{42}\)"),
    (number(1250), "The total is $1,250.00."),
    (number(-4), "-4"),
    (number(3), "15% of 20 is 3"),
    (number(42), "The answer is 17 + 25 = 42"),
    (number(0.5, tolerance=0.01), "about 0.503"),
    ({"kind": "contains", "any": ["Paris", "Lutetia"]}, "It is PARIS."),
    ({"kind": "contains", "all": ["carbon dioxide"]}, "Carbon\ndioxide"),
    ({"kind": "contains", "any": ["H2O"]}, "H₂O"),
    ({"kind": "equals", "any": ["blue"]}, ' **"Blue"**. '),
    ({"kind": "regex", "pattern": "^b.t$"}, "a\nBat\nc"),
    ({"kind": "json", "keys": ["a", "b"], "values": {"a": 1}}, '{"b": null, "a": 1}'),
    ({"kind": "json", "values": {"a": "Rome"}}, 'Here:\n```json\n{"a": "rome"}\n```\nDone.'),
    ({"kind": "list", "items": ["a", "b", "c"]}, "Sorted: a, b, and c."),
    ({"kind": "list", "items": ["a", "b", "c"]}, "Here they are:\n1. a\n2. b\n3. c"),
    ({"kind": "list", "items": [1, 2, 3]}, "[1, 2, 3]"),
    ({"kind": "list", "items": [1, 2, 3], "ordered": False}, "3 1 2"),
    ({"kind": "words", "count": 3}, "Blue, deep, well-known."),
    ({"kind": "words", "least": 2, "most": 4}, "don't stop"),
    ({"kind": "lines", "count": 2, "pattern": "^- "}, "Two things:\n- one\n\n- two"),
    ({"kind": "case", "case": "upper"}, "RAIN FALLS, 3 DAYS."),
    ({"kind": "any", "of": [number(1), number(2)]}, "2"),
    ({"kind": "all", "of": [number(2), {"kind": "words", "count": 1}]}, "2"),
]
WRONG = [
    (number(42), "43"),
    (number(42), "42 times nothing is 0"),
    (number(42), "142"),
    (number(3), "3.5"),
    (number(3), "no number"),
    ({"kind": "contains", "any": ["Au"]}, "Aurum"),
    ({"kind": "contains", "all": ["a", "b"]}, "a"),
    ({"kind": "contains", "all": ["positive"], "none": ["negative"]}, "positive or negative"),
    ({"kind": "equals", "any": ["no"]}, "No, it is not."),
    ({"kind": "regex", "pattern": "Fe", "match_case": True}, "fe"),
    ({"kind": "json", "keys": ["a"]}, '{"a": 1, "b": 2}'),
    ({"kind": "json", "values": {"a": 1}}, '{"a": true}'),
    ({"kind": "json", "keys": ["a"]}, "[1]"),
    ({"kind": "json", "keys": ["a"]}, "a: 1"),
    ({"kind": "list", "items": ["a", "b"]}, "b, a"),
    ({"kind": "list", "items": ["a", "b"]}, "a, b, c"),
    ({"kind": "words", "count": 3}, "one two"),
    ({"kind": "lines", "count": 2, "pattern": "^- ", "alone": True}, "Two:\n- one\n- two"),
    ({"kind": "case", "case": "upper"}, "Rain"),
    ({"kind": "case", "case": "lower"}, "123"),
    ({"kind": "all", "of": [number(2), {"kind": "words", "count": 1}]}, "It is 2"),
]
BROKEN = [
    {},
    {"kind": "vibes"},
    {"kind": "number"},
    {"kind": "number", "value": "4"},
    {"kind": "number", "value": True},
    {"kind": "number", "value": float("nan")},
    {"kind": "contains"},
    {"kind": "contains", "any": "Paris"},
    {"kind": "contains", "any": [""]},
    {"kind": "words", "count": -1},
    {"kind": "words", "number": 3},
    {"kind": "regex", "pattern": "("},
    {"kind": "case", "case": "title"},
    {"kind": "all", "of": []},
    {"kind": "all", "of": [{"kind": "vibes"}]},
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(check, answer):
    assert passes(check, answer)


@pytest.mark.parametrize(("check", "answer"), WRONG)
def test_wrong_answers_do_not(check, answer):
    assert not passes(check, answer)


@pytest.mark.parametrize("check", BROKEN)
def test_a_check_that_is_none_is_refused(check):
    with pytest.raises(ConfigurationError, match="not a check"):
        validate_check(check)
    with pytest.raises(ConfigurationError, match="not a check"):
        passes(check, "x")


def test_every_kind_is_tested_and_an_empty_answer_passes_none():
    kinds = {check["kind"] for check, _ in RIGHT}
    assert kinds == set(CHECK_KINDS)
    assert not any(passes(check, " \n") for check, _ in RIGHT)


@given(st.integers(-(10**9), 10**9))
def test_a_number_is_found_with_and_without_commas(value):
    assert passes(number(value), f"It comes to {value:,} in all.") == passes(number(value), str(value)) is True
    assert not passes(number(value), str(value + 1))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers() | st.booleans() | st.text(), max_size=4))
def test_json_is_what_json_writes(values):
    check = {"kind": "json", "keys": list(values), "values": values}
    if values:
        assert passes(check, json.dumps(values))


@given(st.sampled_from([check for check, _ in RIGHT]), st.text())
def test_no_answer_breaks_a_check(check, answer):
    assert passes(check, answer) in (True, False)


def test_long_runs_of_white_space_separate_the_items_of_a_list():
    # a search that tries every length of the white space would take minutes
    gap = " " * 200_000
    assert passes({"kind": "list", "items": ["a", "b", "c"]}, f"a,{gap}b,{gap}and{gap}c")

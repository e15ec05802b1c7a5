"""Pairs that differ in the fact alone."""

from __future__ import annotations

import re

import pytest

from blender_lab.data.fact_swaps import HELD_OUT_RELATIONS, fact_swap_records


@pytest.mark.parametrize("held_out", [True, False])
def test_relations_are_held_out_as_a_whole(held_out):
    records = list(fact_swap_records(held_out=held_out, per_relation=2))
    assert {record.subset in HELD_OUT_RELATIONS for record in records} == {held_out}
    assert len(records) == 2 * len({record.subset for record in records})


def test_both_answers_are_the_same_sentence():
    for record in fact_swap_records(held_out=True, per_relation=40):
        right, wrong = record.candidates
        assert right != wrong
        assert record.comparisons == ((0, 1, 1.0),)
        shared = set(right.split()) & set(wrong.split())
        assert abs(len(right.split()) - len(wrong.split())) <= 4
        assert shared or len(right.split()) <= 4


def test_with_tails_the_right_answer_is_as_often_the_longer_one():
    longer = shorter = 0
    for record in fact_swap_records(held_out=False, per_relation=20, tails=True):
        assert len(record.candidates) == 4
        for i, j, p in record.comparisons:
            assert p == 1.0
            longer += len(record.candidates[i]) > len(record.candidates[j])
            shorter += len(record.candidates[i]) < len(record.candidates[j])
    assert 0.8 < longer / shorter < 1.25


def test_a_seed_draws_the_same_and_another_one_others():
    first, again, other = (
        [record.prompt for record in fact_swap_records(held_out=True, per_relation=5, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_calculations_are_right():
    for record in fact_swap_records(held_out=False, per_relation=20):
        if record.subset in ("difference", "product"):
            numbers = list(map(int, re.findall(r"(?<!\S)-?\d+", record.candidates[0])))
            asked = list(map(int, re.findall(r"\d+", record.prompt)))
            result = asked[0] - asked[1] if record.subset == "difference" else asked[0] * asked[1]
            assert result in numbers

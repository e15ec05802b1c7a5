"""Intransitive comparisons are found and reported."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from blender_core import Ranking
from blender_core.types.ranking import find_cycles


@st.composite
def comparisons(draw):
    size = draw(st.integers(1, 7))
    matrix = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i):
            matrix[i][j] = draw(st.sampled_from([-1.5, 0.0, 2.0, math.nan]))
            matrix[j][i] = -matrix[i][j]
    return matrix


def best_order_is_consistent(matrix, members):
    """Whether somebody can go first, then somebody of the rest, and so on, with nobody beaten by a later one."""
    rest = set(members)
    while rest:
        unbeaten = [i for i in rest if not any(matrix[j][i] > 0 for j in rest)]
        if not unbeaten:
            return False
        rest -= set(unbeaten)
    return True


@given(comparisons())
def test_groups_are_those_that_no_order_fits(matrix):
    groups = find_cycles(matrix)
    assert best_order_is_consistent(matrix, range(len(matrix))) == (not groups)
    for group in groups:
        assert not best_order_is_consistent(matrix, group)
    assert len({index for group in groups for index in group}) == sum(map(len, groups))


@given(comparisons(), st.randoms())
def test_groups_move_with_their_candidates(matrix, random):
    order = list(range(len(matrix)))
    random.shuffle(order)
    moved = find_cycles([[matrix[i][j] for j in order] for i in order])
    assert {frozenset(order[i] for i in group) for group in moved} == set(map(frozenset, find_cycles(matrix)))


@given(comparisons())
def test_turning_every_comparison_keeps_the_groups(matrix):
    assert find_cycles([[-value for value in row] for row in matrix]) == find_cycles(matrix)


def test_a_ranking_reports_them():
    circle = [[0, 1, -1], [-1, 0, 1], [1, -1, 0]]
    ranking = Ranking.from_scores([0.0, 0.0, 0.0], ranker="example", comparisons=circle)
    assert ranking.cycles == ((0, 1, 2),)
    assert ranking.to_dict()["cycles"] == [[0, 1, 2]]
    assert ranking.ties == ((0, 1, 2),)
    assert Ranking.from_scores([1.0, 0.0], ranker="example").cycles == ()


def test_a_cycle_of_a_real_ranker(ranker, goldens):
    """Random weights are not transitive on eleven texts, and copies are in the circle of their original."""
    request = goldens["eleven"]["request"]
    candidates = [*request["candidates"], request["candidates"][0]]
    ranking = ranker.rank(request["prompt"], candidates)
    groups = [group for group in ranking.cycles if 0 in group]
    assert all(len(candidates) - 1 in group for group in groups)
    plain = ranker.rank(request["prompt"], request["candidates"])
    for group in plain.cycles:
        beaten = [any(plain.comparisons[j][i] > 0 for j in group) for i in group]
        assert all(beaten)

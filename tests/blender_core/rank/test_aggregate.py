"""Comparisons become scores."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_core.rank.comparisons import (
    AGGREGATIONS,
    aggregate,
    bradley_terry,
    bubble_best,
    max_logits,
    max_wins,
    symmetrise,
)

NAN = math.nan


@st.composite
def matrices(draw, missing=False):
    size = draw(st.integers(1, 7))
    logit = st.floats(-20, 20, width=32)
    entry = st.one_of(logit, st.just(NAN)) if missing else logit
    return [[0.0 if i == j else draw(entry) for j in range(size)] for i in range(size)]


def relabelled(matrix, order):
    return [[matrix[i][j] for j in order] for i in order]


@given(matrices(missing=True), st.randoms())
@pytest.mark.parametrize("name", ["max_logits", "max_wins"])
def test_scores_move_with_their_candidates_exactly(name, matrix, random):
    order = list(range(len(matrix)))
    random.shuffle(order)
    scores = aggregate(name, matrix)
    assert aggregate(name, relabelled(matrix, order)) == tuple(scores[i] for i in order)


@given(matrices(missing=True), st.randoms())
def test_bradley_terry_moves_with_its_candidates(matrix, random):
    order = list(range(len(matrix)))
    random.shuffle(order)
    strengths = aggregate("bradley_terry", matrix)
    moved = aggregate("bradley_terry", relabelled(matrix, order))
    assert moved == pytest.approx([strengths[i] for i in order], abs=1e-4)


@given(matrices())
def test_swapping_winner_and_loser_flips_the_margins(matrix):
    flipped = [[-value for value in row] for row in matrix]
    assert max_logits(flipped) == tuple(-score for score in max_logits(matrix))
    assert symmetrise(flipped) == tuple(tuple(-value for value in row) for row in symmetrise(matrix))


@given(matrices())
def test_margins_are_antisymmetric_and_scores_sum_to_zero(matrix):
    margins = symmetrise(matrix)
    assert all(margins[i][j] == -margins[j][i] for i in range(len(matrix)) for j in range(len(matrix)))
    assert sum(max_logits(matrix)) == pytest.approx(0, abs=1e-6)


@given(matrices(), st.integers(1, 3))
def test_counts_mean_copies(matrix, copies):
    """Scoring with a count is scoring with the row written out that often."""
    written_out = [0] * copies + list(range(1, len(matrix)))
    expected = max_logits(relabelled(matrix, written_out))
    counted = max_logits(matrix, [copies] + [1] * (len(matrix) - 1))
    # copies of one text draw, so the logits between them play no part
    assert counted == pytest.approx([expected[0], *expected[copies:]], abs=1e-9)


def test_a_missing_order_is_replaced_by_the_other():
    assert max_logits([[0, 2.0], [NAN, 0]]) == max_logits([[0, 2.0], [-2.0, 0]])
    assert math.isnan(symmetrise([[0, NAN], [NAN, 0]])[0][1])
    assert max_logits([[0, NAN], [NAN, 0]]) == (0.0, 0.0)


def test_a_tied_logit_is_a_win_for_nobody():
    assert max_wins([[0, 0.0], [0.0, 0]]) == (0.0, 0.0)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6), st.floats(-2, 2))
def test_bradley_terry_recovers_strengths_and_bias(strengths, bias):
    size = len(strengths)
    matrix = [[0 if i == j else strengths[i] - strengths[j] + bias for j in range(size)] for i in range(size)]
    fitted = bradley_terry(matrix)
    mean = sum(strengths) / size
    assert fitted.strengths == pytest.approx([value - mean for value in strengths], abs=1e-3)
    assert fitted.position_bias == pytest.approx(bias, abs=1e-3)


def test_bradley_terry_sees_through_the_position_bias_in_one_order():
    """Three equal candidates, each compared once: all of the margin is bias."""
    fitted = bradley_terry([[0, 1.0, NAN], [NAN, 0, 1.0], [1.0, NAN, 0]])
    assert fitted.strengths == pytest.approx([0, 0, 0], abs=1e-6)
    assert fitted.position_bias == pytest.approx(1.0, abs=1e-3)


def test_bradley_terry_stays_finite_where_a_candidate_always_wins():
    fitted = bradley_terry([[0, 1e4, 1e4], [-1e4, 0, 3.0], [-1e4, -3.0, 0]])
    assert fitted.strengths[0] > fitted.strengths[1] > fitted.strengths[2]
    assert all(math.isfinite(value) for value in fitted.strengths)


@given(st.permutations(range(6)))
def test_bubble_finds_the_best_of_a_consistent_order(permutation):
    asked = []

    def compare(i, j):
        asked.append((i, j))
        return float(i - j)

    assert bubble_best(compare, permutation) == 5
    assert len(asked) == 5


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
def test_one_candidate(name):
    assert aggregate(name, [[0.0]]) == (0.0,)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: aggregate("best", [[0.0]]), "bradley_terry, max_logits, max_wins"),
        (lambda: max_logits([]), "square"),
        (lambda: max_logits([[0.0, 1.0]]), "square"),
        (lambda: max_logits([[0.0]], [0]), "counts"),
        (lambda: bubble_best(lambda i, j: 0.0, []), "permutation"),
    ],
)
def test_wrong_input_is_named(call, match):
    with pytest.raises(ConfigurationError, match=match):
        call()

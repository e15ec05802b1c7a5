"""Which ordered pairs of a request are run, and where their logits go."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from blender_core.rank.aggregate import symmetrise
from blender_core.rank.bubble import bubble_run

__all__ = ["Run", "bubble_matrix", "ordered_matrix", "spread_ordered"]

Run = Callable[[Sequence[tuple[int, int]]], Sequence[float]]
"""Logits that the left one is better, for pairs of indices (left, right)."""


def ordered_matrix(
    run: Run, size: int, *, both_orders: bool = True, with_itself: frozenset[int] | set[int] = frozenset()
) -> list[list[float]]:
    """Compare every two of ``size`` texts, in one call.

    Args:
        run: Compares.
        size: How many texts.
        both_orders: Run each pair in both orders; else each text stands on the left about half of the time.
        with_itself: Texts that also meet themselves.

    Returns:
        ``M[i][j]``, i on the left, shape [size, size]; ``nan`` where a pair was not run, 0 on the diagonal.
    """
    matrix = _not_run(size)
    wanted = [
        (i, j)
        for i in range(size)
        for j in range(size)
        # in one order, odd and even sums take turns on the left
        if (i != j and (both_orders or (i < j) == ((i + j) % 2 == 1))) or (i == j and i in with_itself)
    ]
    _fill(matrix, run, wanted)
    return matrix


def bubble_matrix(run: Run, size: int, *, both_orders: bool = True) -> tuple[tuple[float, ...], list[list[float]]]:
    """Let each text meet the best so far, one comparison after the other.

    Args:
        run: Compares.
        size: How many texts.
        both_orders: Run each pair in both orders.

    Returns:
        Scores, and the matrix as from ``ordered_matrix``.
    """
    matrix = _not_run(size)

    def compare(i: int, j: int) -> float:
        _fill(matrix, run, [(i, j), (j, i)] if both_orders else [(i, j)])
        return symmetrise([[0.0, matrix[i][j]], [matrix[j][i], 0.0]])[0][1]

    return bubble_run(compare, range(size)).strengths, matrix


def spread_ordered(
    ordered: Sequence[Sequence[float]], positions: Sequence[int | None]
) -> tuple[tuple[float, ...], ...]:
    """The matrix for all candidates, from that of the distinct ones.

    Args:
        ordered: ``M[i][j]`` of distinct texts, i on the left.
        positions: For each candidate the index into ``ordered``, or ``None`` for a blank.

    Returns:
        Shape [n, n]. A blank loses to any text by an infinite logit and draws with a blank.
    """

    def logit(i: int, j: int) -> float:
        left, right = positions[i], positions[j]
        if i == j:
            return 0.0
        if left is None or right is None:
            return 0.0 if left is right else -math.inf if left is None else math.inf
        return ordered[left][right]

    return tuple(tuple(logit(i, j) for j in range(len(positions))) for i in range(len(positions)))


def _fill(matrix: list[list[float]], run: Run, wanted: Sequence[tuple[int, int]]) -> None:
    for (i, j), logit in zip(wanted, run(wanted), strict=True):
        matrix[i][j] = logit


def _not_run(size: int) -> list[list[float]]:
    return [[0.0 if i == j else math.nan for j in range(size)] for i in range(size)]

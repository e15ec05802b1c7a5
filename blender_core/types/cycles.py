"""Intransitive comparisons: candidates that beat each other in a circle."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["find_cycles"]


def find_cycles(comparisons: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], ...]:
    """Find the groups that no order can satisfy.

    A cross-encoder may say that a beats b, b beats c and c beats a. Seen as a graph of who beats whom, such
    candidates are a strongly connected component (Tarjan 1972); outside of these groups the comparisons agree
    with one order.

    Args:
        comparisons: ``comparisons[i][j]`` is the logit that i is better than j, shape [n, n]. Zero and ``nan``
            mean that neither beats the other.

    Returns:
        Every group of two or more, indices ascending, groups by their first index. Empty where the comparisons
        are consistent.

    Examples:
        >>> find_cycles([[0, 1, -1, 2], [-1, 0, 1, 2], [1, -1, 0, 2], [-2, -2, -2, 0]])
        ((0, 1, 2),)
        >>> find_cycles([[0, 1], [-1, 0]])
        ()
    """
    size = len(comparisons)
    reach = [[comparisons[i][j] > 0 for j in range(size)] for i in range(size)]
    for middle in range(size):
        for i in range(size):
            if reach[i][middle]:
                reach[i] = [already or further for already, further in zip(reach[i], reach[middle], strict=True)]
    groups = {
        tuple(j for j in range(size) if j == i or (reach[i][j] and reach[j][i])) for i in range(size) if reach[i][i]
    }
    return tuple(sorted(group for group in groups if len(group) > 1))

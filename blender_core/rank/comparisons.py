"""Turn pairwise comparisons into scores: choice of pairs, aggregation, bubble run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from blender_core.errors import ConfigurationError
from blender_core.rank.logistic_regression import fit_logistic, sigmoid

__all__ = [
    "AGGREGATIONS",
    "BradleyTerry",
    "BubbleRun",
    "Run",
    "aggregate",
    "bradley_terry",
    "bubble_best",
    "bubble_matrix",
    "bubble_run",
    "max_logits",
    "max_wins",
    "ordered_matrix",
    "spread_ordered",
    "symmetrise",
]

Matrix = Sequence[Sequence[float]]


def symmetrise(ordered: Matrix) -> tuple[tuple[float, ...], ...]:
    """Average both orders of each pair, which removes a constant position bias.

    Args:
        ordered: Ordered-pair logits, shape [n, n].

    Returns:
        An antisymmetric matrix, positive if i is better: ``(M[i][j] - M[j][i]) / 2``. If one order was run, its logit;
        if none, ``nan``.

    Examples:
        >>> symmetrise([[0.0, 2.0], [-1.0, 0.0]])
        ((0.0, 1.5), (-1.5, 0.0))
    """
    size = _checked_size(ordered)
    return tuple(tuple(_pair_logit(ordered, i, j) for j in range(size)) for i in range(size))


def max_logits(ordered: Matrix, counts: Sequence[int] | None = None) -> tuple[float, ...]:
    """Compute the mean margin of each candidate over all: the reference implementation's score.

    ``score[i] = (1 / n) * sum_j (M[i][j] - M[j][i])``; the zeros of the diagonal count in the mean. It is "MaxLogits"
    of the LLM-Blender paper, section 3.2, and the score that ``llm-blender`` 0.0.2 returns. Sums are exact,
    so the scores do not depend on the order of the candidates.

    Args:
        ordered: Ordered-pair logits, shape [n, n]. If one order of a pair is missing, the other is used
            for both; a pair that was not run counts as a draw.
        counts: Number of copies of each candidate; default 1.

    Returns:
        One score for each candidate, in logits; higher is better.

    Examples:
        >>> max_logits([[0.0, 2.0], [-1.0, 0.0]])
        (1.5, -1.5)
    """
    margins = symmetrise(ordered)
    weights = _checked_counts(counts, len(margins))
    total = sum(weights)
    return tuple(
        math.fsum(2.0 * weight * margin for weight, margin in zip(weights, row, strict=True) if not math.isnan(margin))
        / total
        for row in margins
    )


def max_wins(ordered: Matrix, counts: Sequence[int] | None = None) -> tuple[float, ...]:
    """Count the ordered comparisons that each candidate wins ("MaxWins" in the paper).

    Args:
        ordered: Ordered-pair logits, shape [n, n]. A logit of exactly 0 is no win.
        counts: Number of copies of each candidate; default 1.

    Returns:
        Wins of each candidate, from 0 to ``2 (n - 1)``.

    Examples:
        >>> max_wins([[0.0, 2.0], [0.5, 0.0]])
        (1.0, 1.0)
    """
    size = _checked_size(ordered)
    weights = _checked_counts(counts, size)
    # a comparison with nan is False, so a missing order is no win
    return tuple(
        float(sum(weights[j] * ((ordered[i][j] > 0) + (ordered[j][i] < 0)) for j in range(size) if j != i))
        for i in range(size)
    )


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """A fitted Bradley-Terry model.

    Attributes:
        strengths: One strength for each candidate, in logits, with mean zero.
        position_bias: Logit that the left one of two equal candidates wins.
    """

    strengths: tuple[float, ...]
    position_bias: float


def bradley_terry(ordered: Matrix, counts: Sequence[int] | None = None, *, ridge: float = 1e-6) -> BradleyTerry:
    """Fit strengths and a position bias by maximum likelihood.

    The model is ``P(i beats j, i on the left) = sigmoid(s[i] - s[j] + b)``: Bradley and Terry 1952, with the order
    effect of Davidson and Beaver 1977. ``sigmoid(M[i][j])`` is the share of wins, so large margins count more.

    Args:
        ordered: Ordered-pair logits, shape [n, n]; ``nan`` if a pair was not run.
        counts: Number of copies of each candidate; default 1.
        ridge: Weight of a Gaussian prior around zero. It keeps the fit finite if the comparisons do not
            connect all candidates.

    Returns:
        The fitted model.

    Examples:
        >>> model = bradley_terry([[0.0, 2.0], [-1.0, 0.0]])
        >>> round(model.strengths[0] - model.strengths[1], 3), round(model.position_bias, 3)
        (1.5, 0.5)
    """
    size = _checked_size(ordered)
    weights = np.asarray(_checked_counts(counts, size), dtype=np.float64)
    logits = np.asarray(ordered, dtype=np.float64)
    left, right = np.nonzero(~np.isnan(logits) & ~np.eye(size, dtype=bool))
    design = np.zeros((len(left), size + 1))
    design[np.arange(len(left)), left] = 1.0
    design[np.arange(len(left)), right] = -1.0
    design[:, size] = 1.0
    targets, pair_weights = sigmoid(logits[left, right]), weights[left] * weights[right]
    solution, _ = fit_logistic(design, targets, pair_weights, ridge * np.eye(size + 1))
    strengths = solution[:size] - solution[:size].mean()
    return BradleyTerry(tuple(float(value) for value in strengths), float(solution[size]))


def bubble_best(compare: Callable[[int, int], float], permutation: Sequence[int]) -> int:
    """Find one good candidate with n - 1 comparisons, as the paper's "bubble" run does.

    The current best is compared with each next candidate, and replaced unless it wins.

    Args:
        compare: ``compare(i, j)`` is the symmetrised logit that i is better than j.
        permutation: Order of comparison; every index once.

    Returns:
        Index of the winner. On a draw the later candidate wins, as in the reference.

    Raises:
        ConfigurationError: ``permutation`` is empty.

    Examples:
        >>> quality = [0.1, 0.9, 0.4]
        >>> bubble_best(lambda i, j: quality[i] - quality[j], [2, 0, 1])
        1
    """
    if not permutation:
        raise ConfigurationError("permutation is empty; pass every candidate index once")
    best = permutation[0]
    for challenger in permutation[1:]:
        if compare(best, challenger) <= 0:
            best = challenger
    return best


def aggregate(name: str, ordered: Matrix, counts: Sequence[int] | None = None) -> tuple[float, ...]:
    """Score candidates by a named aggregation.

    Args:
        name: A key of ``AGGREGATIONS``.
        ordered: Ordered-pair logits, shape [n, n].
        counts: Number of copies of each candidate; default 1.

    Returns:
        One score for each candidate, higher is better. The scale depends on the aggregation.

    Raises:
        ConfigurationError: The name is unknown.

    Examples:
        >>> aggregate("max_wins", [[0.0, 2.0], [-1.0, 0.0]])
        (2.0, 0.0)
    """
    if name not in AGGREGATIONS:
        raise ConfigurationError(f"aggregation {name!r} is unknown; choose one of {', '.join(sorted(AGGREGATIONS))}")
    return AGGREGATIONS[name](ordered, counts)


def _bradley_terry_strengths(ordered: Matrix, counts: Sequence[int] | None = None) -> tuple[float, ...]:
    return bradley_terry(ordered, counts).strengths


AGGREGATIONS: Mapping[str, Callable[[Matrix, Sequence[int] | None], tuple[float, ...]]] = MappingProxyType(
    {"bradley_terry": _bradley_terry_strengths, "max_logits": max_logits, "max_wins": max_wins}
)
"""The aggregations by name."""


def _pair_logit(ordered: Matrix, i: int, j: int) -> float:
    if i == j:
        return 0.0
    forward, backward = float(ordered[i][j]), -float(ordered[j][i])
    if math.isnan(forward):
        return backward
    return forward if math.isnan(backward) else (forward + backward) / 2


def _checked_size(ordered: Matrix) -> int:
    size = len(ordered)
    if not size or any(len(row) != size for row in ordered):
        raise ConfigurationError(
            f"a comparison matrix must be square and not empty, got rows of {[len(row) for row in ordered]}; "
            "pass one row and one column for each candidate"
        )
    return size


def _checked_counts(counts: Sequence[int] | None, size: int) -> tuple[int, ...]:
    if counts is None:
        return (1,) * size
    if len(counts) != size or any(count < 1 for count in counts):
        raise ConfigurationError(f"counts {list(counts)} do not fit {size} candidates; pass one count >= 1 for each")
    return tuple(counts)


@dataclass(frozen=True, slots=True)
class BubbleRun:
    """The result of a bubble run.

    Attributes:
        best: Index of the winner.
        losers: Loser of each comparison, in order.
        strengths: Strength of each candidate in logits, with mean 0; ``best`` has the highest. Differences equal the
            measured margins (the Bradley-Terry fit of a tree). Two candidates that were not compared are ordered by the
            chain of comparisons between them.
    """

    best: int
    losers: tuple[int, ...]
    strengths: tuple[float, ...]


def bubble_run(compare: Callable[[int, int], float], permutation: Sequence[int]) -> BubbleRun:
    """Compare the current best with each next candidate (LLM-Blender, section 3.3).

    Args:
        compare: ``compare(i, j)`` is the symmetrised logit that i is better than j.
        permutation: Order of comparison; every index once. On a draw the later one wins, as in the reference.

    Returns:
        The result.

    Raises:
        ConfigurationError: ``permutation`` is no permutation of ``range(n)``, n at least 1.

    Examples:
        >>> quality = [0.0, 3.0, 1.0]
        >>> run = bubble_run(lambda i, j: quality[i] - quality[j], [2, 0, 1])
        >>> run.best, run.losers, [round(strength, 2) for strength in run.strengths]
        (1, (0, 2), [-1.33, 1.67, -0.33])
    """
    if not permutation or sorted(permutation) != list(range(len(permutation))):
        raise ConfigurationError(f"permutation {list(permutation)} is none; pass every candidate index once")
    strengths = {permutation[0]: 0.0}
    best, losers = permutation[0], []
    for challenger in permutation[1:]:
        margin = compare(best, challenger)
        strengths[challenger] = strengths[best] - margin
        loser = challenger if margin > 0 else best
        best = best if margin > 0 else challenger
        losers.append(loser)
    mean = math.fsum(strengths.values()) / len(strengths)
    return BubbleRun(best, tuple(losers), tuple(strengths[index] - mean for index in range(len(strengths))))


Run = Callable[[Sequence[tuple[int, int]]], Sequence[float]]
"""Returns the logit that the left one is better, for each pair of indices (left, right)."""


def ordered_matrix(
    run: Run, size: int, *, both_orders: bool = True, with_itself: frozenset[int] | set[int] = frozenset()
) -> list[list[float]]:
    """Compare all pairs of ``size`` texts in one call.

    Args:
        run: Runs comparisons.
        size: Number of texts.
        both_orders: Run each pair in both orders; else each text is on the left about half of the time.
        with_itself: Texts that are also compared with themselves.

    Returns:
        ``M[i][j]``, i on the left, shape [size, size]; ``nan`` if a pair was not run, 0 on the diagonal.
    """
    matrix = _not_run(size)
    wanted = [
        (i, j)
        for i in range(size)
        for j in range(size)
        # with one order, the parity of i + j decides which is on the left
        if (i != j and (both_orders or (i < j) == ((i + j) % 2 == 1))) or (i == j and i in with_itself)
    ]
    _fill(matrix, run, wanted)
    return matrix


def bubble_matrix(run: Run, size: int, *, both_orders: bool = True) -> tuple[tuple[float, ...], list[list[float]]]:
    """Compare each text with the best so far, one comparison at a time.

    Args:
        run: Runs comparisons.
        size: Number of texts.
        both_orders: Run each pair in both orders.

    Returns:
        Scores in logits (higher is better), and the matrix as from ``ordered_matrix``.
    """
    matrix = _not_run(size)

    def compare(i: int, j: int) -> float:
        _fill(matrix, run, [(i, j), (j, i)] if both_orders else [(i, j)])
        return symmetrise([[0.0, matrix[i][j]], [matrix[j][i], 0.0]])[0][1]

    return bubble_run(compare, range(size)).strengths, matrix


def spread_ordered(
    ordered: Sequence[Sequence[float]], positions: Sequence[int | None]
) -> tuple[tuple[float, ...], ...]:
    """Expand the matrix of the distinct candidates to all candidates.

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

"""The paper's bubble run: one good candidate out of n with n - 1 comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blender_core.errors import ConfigurationError

__all__ = ["BubbleRun", "bubble_run"]


@dataclass(frozen=True, slots=True)
class BubbleRun:
    """What a bubble run has found out.

    Attributes:
        best: Index of the last one standing.
        losers: The loser of each comparison, in the order in which they fell.
        strengths: One number for each candidate, in logits, with mean zero. The n - 1 comparisons connect the
            candidates without a circle, so strengths exist whose differences are exactly the margins seen
            (the Bradley-Terry fit of a tree). Nobody is above ``best``. Two candidates that never met are
            ordered by the chain of comparisons between them only.
    """

    best: int
    losers: tuple[int, ...]
    strengths: tuple[float, ...]


def bubble_run(compare: Callable[[int, int], float], permutation: Sequence[int]) -> BubbleRun:
    """Let the current best meet each next candidate (LLM-Blender, section 3.3; ``_bubble_predict`` of 0.0.2).

    Args:
        compare: ``compare(i, j)`` is the symmetrised logit that i is better than j.
        permutation: The order in which candidates are met; every index once. On a draw the later one stays, as
            in the reference.

    Returns:
        The run.

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

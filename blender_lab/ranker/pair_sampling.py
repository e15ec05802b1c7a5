"""Which pairs of a record are drawn for a step: the sampling modes of LLM-Blender's training code.

Candidates are ordered by their expected wins over the pairs whose order is known. Pairs without a known order are
never drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from blender_lab.ranker.targets import PairTarget

__all__ = ["draw_pairs", "order_by_wins"]


def order_by_wins(pairs: Sequence[PairTarget]) -> list[int]:
    """Candidates from best to worst by the mean of their expected wins.

    Args:
        pairs: Pairs with a known order.

    Returns:
        Indices; equal candidates by index.

    Examples:
        >>> order_by_wins([(0, 1, 0.2), (1, 2, 0.9)])
        [1, 0, 2]
    """
    wins: dict[int, list[float]] = {}
    for i, j, p in pairs:
        wins.setdefault(i, []).append(p)
        wins.setdefault(j, []).append(1.0 - p)
    return sorted(wins, key=lambda index: (-sum(wins[index]) / len(wins[index]), index))


def draw_pairs(
    pairs: Sequence[PairTarget],
    mode: str,
    count: int,
    rng: np.random.Generator,
    weights: Sequence[float] | None = None,
) -> list[PairTarget]:
    """Draw pairs of one record.

    Args:
        pairs: At least one pair with a known order.
        mode: ``"all_pair"``: any pairs, each at most once. ``"random"``: any pairs, the same one perhaps again.
            ``"top_bottom"``: the best with the worst, the second with the second last, and so on. ``"uniform"``:
            candidates at even distances along the order, each with the next.
        count: Most pairs to draw; at least 1.
        rng: Source of randomness; ``"top_bottom"`` and ``"uniform"`` need it only where their pairs have no known
            order, and one known pair is drawn instead.
        weights: For ``"all_pair"`` and ``"random"``: how likely each pair is to be drawn, above 0.

    Returns:
        At least one pair.

    Examples:
        >>> pairs = [(i, j, 1.0) for i in range(4) for j in range(i + 1, 4)]
        >>> draw_pairs(pairs, "top_bottom", 2, np.random.default_rng(0))
        [(0, 3, 1.0), (1, 2, 1.0)]
        >>> draw_pairs(pairs, "uniform", 3, np.random.default_rng(0))
        [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0)]
    """
    if mode in ("all_pair", "random"):
        again = mode == "random"
        if not again and count >= len(pairs):
            return list(pairs)
        chances = None if weights is None else np.asarray(weights) / np.sum(weights)
        drawn = rng.choice(len(pairs), size=count if again else min(count, len(pairs)), replace=again, p=chances)
        return [pairs[int(index)] for index in drawn]
    order = order_by_wins(pairs)
    if mode == "top_bottom":
        wanted = list(zip(order[: len(order) // 2], reversed(order), strict=False))[:count]
    else:
        places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order) - 1) + 1).round().astype(int))
        wanted = [(order[a], order[b]) for a, b in itertools.pairwise(places)]
    known = {frozenset(pair[:2]): pair for pair in pairs}
    found = [known[frozenset(pair)] for pair in wanted if frozenset(pair) in known]
    return found or [pairs[int(rng.integers(len(pairs)))]]

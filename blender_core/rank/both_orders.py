"""Compare two answers in both orders, with any ranker, and see whether the order mattered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from blender_core.rank.protocol import Ranker
from blender_core.types.ranking import Ranking

__all__ = ["BothOrders", "compare_both_orders"]


@runtime_checkable
class _ComparesOrdered(Protocol):
    def ordered_logits(self, prompt: str, candidates: list[str], /) -> tuple[tuple[float, ...], ...]: ...


@dataclass(frozen=True, slots=True)
class BothOrders:
    """The logit that the first answer is better, from each order.

    Attributes:
        first_left: With the first answer shown first.
        second_left: With the second answer shown first.

    Examples:
        >>> both = BothOrders(first_left=2.0, second_left=-1.0)
        >>> both.disagree, both.mean
        (True, 0.5)
    """

    first_left: float
    second_left: float

    @property
    def disagree(self) -> bool:
        """Whether each order finds another answer better."""
        return self.first_left * self.second_left < 0

    @property
    def mean(self) -> float:
        """The mean of both, which has no position bias."""
        # the sum of infinities is one, or nan
        return (self.first_left + self.second_left) / 2


def compare_both_orders(ranker: Ranker, prompt: str, first: str, second: str) -> BothOrders:
    """Compare two answers in both orders.

    Args:
        ranker: Any ranker. Of ``PairRanker`` and ``LLMJudge`` the raw logit of each order is taken, two forward
            passes or calls; any other ranker ranks twice, its comparison or its difference of scores is the logit.
        prompt: The prompt.
        first: An answer.
        second: Another one.

    Returns:
        The logits, 0 for copies of one text; a blank loses by an infinite one.

    Raises:
        RankerError: The ranker failed.

    Examples:
        >>> from blender_core.rank.length import LongestRanker
        >>> compare_both_orders(LongestRanker(), "Which?", "a longer answer", "short").disagree
        False
    """
    blanks = (not first.strip(), not second.strip())
    if first.strip() == second.strip():
        return BothOrders(0.0, 0.0)
    if any(blanks):
        logit = -math.inf if blanks[0] else math.inf
        return BothOrders(logit, logit)
    if isinstance(ranker, _ComparesOrdered):
        (_, forward), (backward, _) = ranker.ordered_logits(prompt, [first, second])
        return BothOrders(forward, -backward)
    return BothOrders(_logit(ranker.rank(prompt, [first, second])), -_logit(ranker.rank(prompt, [second, first])))


def _logit(ranking: Ranking) -> float:
    if ranking.comparisons is not None and not math.isnan(ranking.comparisons[0][1]):
        return ranking.comparisons[0][1]
    first, second = ranking.scores
    return 0.0 if first == second else first - second

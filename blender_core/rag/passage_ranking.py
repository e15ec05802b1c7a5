"""Order passages for a query within a budget of forward passes.

Comparing all ordered pairs of n passages costs n (n - 1) forward passes: 2,450 for 50 passages. So a cheap first order
picks the leaders, and the budget is spent on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import blender_core.rank as rankers
from blender_core.errors import ConfigurationError, RankerError
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import check_ranker
from blender_core.text.distinct import distinct_candidates
from blender_core.types.returned import checked_ranking

__all__ = ["PassageRanking", "check_passage_settings", "rank_passages"]


@dataclass(frozen=True, slots=True)
class PassageRanking:
    """Holds an order of passages and its cost.

    Attributes:
        order: Passage indices, best first; every index once.
        scores: One score for each passage, by index; higher is better. Passages that the ranker read have its score.
            The others follow below, in their first order.
        read: How many passages the ranker read.
        forwards: Upper bound of the forward passes made.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    read: int
    forwards: int


def rank_passages(
    ranker: Ranker,
    query: str,
    passages: Sequence[str],
    *,
    budget: int = 200,
    first_scores: Sequence[float | None] | None = None,
) -> PassageRanking:
    """Order passages: the leaders by the ranker, the rest by their first scores.

    A ranker that scores one by one reads as many leaders as the budget allows. Any other ranker, such as
    ``PairRanker`` or ``LLMJudge``, compares pairs: it reads the k leaders for which k (k - 1) is within the budget.
    The embedded ranker leaves out its reward for agreement, because passages do not vote.

    Args:
        ranker: The ranker.
        query: The query.
        passages: The passages.
        budget: Most forward passes, at least 2. 200 compares the first 14 in all ordered pairs.
        first_scores: Scores that find the leaders, such as a retriever's; ``None`` in it is an unknown score. If it is
            not given, the passages count as sorted, best first.

    Returns:
        The order.

    Raises:
        ConfigurationError: The budget is below 2, or there is not one score for each passage.
        RankerError: The ranker failed.

    Examples:
        >>> from blender_core.rank.baselines import LongestRanker
        >>> ranked = rank_passages(LongestRanker(), "?", ["a", "ccc", "bb", "dddd"], budget=3)
        >>> ranked.order, ranked.read
        ((1, 2, 0, 3), 3)
    """
    if budget < 2:
        raise ConfigurationError(f"budget is {budget} forward passes; it must be at least 2")
    if first_scores is not None and len(first_scores) != len(passages):
        raise ConfigurationError(f"{len(first_scores)} first scores for {len(passages)} passages; give one for each")
    first = _first_order(passages, first_scores)
    # blanks and copies cost nothing; a copy comes right after its first
    distinct = distinct_candidates([passages[index] for index in first]).positions if passages else ()
    worth = [index for place, index in enumerate(first) if distinct[place] is not None]
    heads = [
        index
        for place, index in enumerate(first)
        if distinct[place] is not None and distinct.index(distinct[place]) == place
    ]
    one_by_one = _scores_one_by_one(ranker)
    # the largest k with k (k - 1) <= budget
    count = min(len(heads), budget if one_by_one else (1 + math.isqrt(1 + 4 * budget)) // 2)
    leaders = heads[:count]
    scores = _scores(ranker, query, [passages[index] for index in leaders]) if len(leaders) > 1 else [0.0] * count
    return _together(first, distinct, leaders, scores, worth, _cost(count, one_by_one))


def check_passage_settings(ranker: Ranker | str, budget: int, top_n: int | None) -> None:
    """Check the settings of an adapter's reranker.

    Args:
        ranker: A ranker or its name.
        budget: Most forward passes.
        top_n: Passages that are kept, or ``None``.

    Raises:
        ConfigurationError: The ranker is unknown, the budget is below 2, or ``top_n`` is below 1.
    """
    check_ranker(ranker)
    if budget < 2 or (top_n is not None and top_n < 1):
        raise ConfigurationError(f"budget is {budget} and top_n {top_n}; give at least 2 forward passes and 1 passage")


def _first_order(passages: Sequence[str], scores: Sequence[float | None] | None) -> list[int]:
    if scores is None:
        return list(range(len(passages)))
    keys = [-math.inf if score is None or math.isnan(score) else score for score in scores]
    return sorted(range(len(passages)), key=lambda index: (-keys[index], index))


def _cost(count: int, one_by_one: bool) -> int:
    if count < 2:
        return 0
    return count if one_by_one else count * (count - 1)


def _scores(ranker: Ranker, query: str, texts: Sequence[str]) -> list[float]:
    if isinstance(ranker, rankers.EmbeddedRanker):
        return ranker.score(query, texts)[0]
    try:
        return list(checked_ranking(ranker.rank(query, texts), len(texts)).scores)
    except RankerError as error:
        raise RankerError(f"{ranker.name}: {error}") from error


def _together(
    first: Sequence[int],
    distinct: Sequence[int | None],
    leaders: Sequence[int],
    scores: Sequence[float],
    worth: Sequence[int],
    forwards: int,
) -> PassageRanking:
    own = dict(zip(leaders, scores, strict=True))
    group = {index: distinct[place] for place, index in enumerate(first)}
    by_group = {group[index]: score for index, score in own.items()}
    place = {index: position for position, index in enumerate(first)}
    read = sorted((i for i in worth if group[i] in by_group), key=lambda i: (-by_group[group[i]], place[i]))
    rest = [index for index in first if index not in set(read)]
    lowest = min((score for score in own.values() if math.isfinite(score)), default=0.0)
    final = {index: by_group[group[index]] for index in read}
    final |= {index: lowest - 1.0 - position for position, index in enumerate(rest)}
    return PassageRanking((*read, *rest), tuple(final[index] for index in range(len(first))), len(leaders), forwards)


def _scores_one_by_one(ranker: Ranker) -> bool:
    known = (
        rankers.BiEncoderRanker,
        rankers.CrossEncoderRanker,
        rankers.EmbeddedRanker,
        rankers.EmbeddingConsensusRanker,
        rankers.LexicalConsensusRanker,
        rankers.LongestRanker,
        rankers.RandomRanker,
    )
    return isinstance(ranker, known)

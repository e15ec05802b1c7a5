"""Order passages for a query within a budget of forward passes, or of the LLM calls of a judge.

Comparing all ordered pairs of n passages costs n (n - 1) forward passes: 2,450 for 50 passages. So a cheap first order
picks the leaders, and the budget is spent on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import blender_core.rank as rankers
from blender_core.errors import ConfigurationError, RankerError
from blender_core.rank.asking import asking_for, asking_now
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import check_ranker
from blender_core.runtime.numbers import check_number
from blender_core.text.distinct import distinct_candidates
from blender_core.types.answer import Usage
from blender_core.types.returned import checked_ranking

__all__ = ["PassageRanking", "check_passage_settings", "rank_passages"]


_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class PassageRanking:
    """Holds an order of passages and its cost.

    Attributes:
        order: Passage indices, best first; every index once.
        scores: One score for each passage, by index; higher is better. Passages that the ranker read have its score.
            The others follow below, in their first order.
        read: How many passages the ranker read.
        forwards: Upper bound of the forward passes made; of an ``LLMJudge``, its LLM calls.
        usage: Tokens of the LLMs that judged; ``None`` if none did, or none reported them.
        cost: Their cost; ``None`` if it is unknown.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    read: int
    forwards: int
    usage: Usage | None = None
    cost: float | None = None


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
    ``PairRanker``, compares pairs: it reads the k leaders for which k (k - 1) is within the budget. An ``LLMJudge``
    reads as many as its mode can judge in that many calls, and at most 20 if it lists them in one, as in RankGPT (Sun
    et al. 2023). The embedded ranker leaves out its reward for agreement, because passages do not vote.

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
    check_number("budget", budget, least=2, whole=True)
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
    passes = _passes(ranker)
    # the passes never fall with the number of passages, but from pairs to a list
    count = max((k for k in range(1, len(heads) + 1) if passes(k) <= budget), default=0)
    leaders = heads[:count]
    asking = asking_now()
    # in a blend that has asked before, its result has the sum
    counts = not asking.tally.calls
    with asking_for(asking):
        scores = _scores(ranker, query, [passages[index] for index in leaders]) if len(leaders) > 1 else [0.0] * count
    ranked = _together(first, distinct, leaders, scores, worth, int(passes(count)))
    return replace(ranked, usage=asking.tally.usage, cost=asking.tally.cost) if counts else ranked


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
    check_number("budget", budget, least=2, whole=True)
    check_number("top_n", top_n, least=1, whole=True, none="all passages")


def _first_order(passages: Sequence[str], scores: Sequence[float | None] | None) -> list[int]:
    if scores is None:
        return list(range(len(passages)))
    keys = [-math.inf if score is None or math.isnan(score) else score for score in scores]
    return sorted(range(len(passages)), key=lambda index: (-keys[index], index))


def _passes(ranker: Ranker) -> Callable[[int], float]:
    """Return how many passes or calls it takes to rank a number of passages."""
    if isinstance(ranker, rankers.LLMJudge):
        return lambda count: ranker.calls(count) if count <= _most_shown(ranker) else math.inf
    one_by_one = _scores_one_by_one(ranker)
    return lambda count: 0 if count < 2 else count if one_by_one else count * (count - 1)


def _most_shown(judge: rankers.LLMJudge) -> float:
    # the calls for a list do not grow with it
    return _MOST_LISTED if judge.calls(_MOST_LISTED + 1) < _MOST_LISTED else math.inf


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
        rankers.HTTPRanker,
        rankers.RewardHeadRanker,
        rankers.BiEncoderRanker,
        rankers.CrossEncoderRanker,
        rankers.EmbeddedRanker,
        rankers.EmbeddingConsensusRanker,
        rankers.LexicalConsensusRanker,
        rankers.LongestRanker,
        rankers.RandomRanker,
    )
    return isinstance(ranker, known)

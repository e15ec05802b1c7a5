"""Run a ranker with a time limit and a quick fallback."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from blender_core.errors import CheckpointError, ConfigurationError, DownloadError, MissingExtraError, RankerError
from blender_core.rank.flaws import put_behind
from blender_core.rank.protocol import Ranker, prompt_for
from blender_core.redaction import told
from blender_core.runtime.threads import CHECKS, RANKINGS, compute_in_thread
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking
from blender_core.types.returned import checked_ranking

__all__ = ["RankingRun", "never_works", "run_ranking", "usable_ranking"]

# share of the remaining time that is reserved for the fallback, and its bounds in seconds
_FALLBACK_SHARE, _FALLBACK_LEAST_S, _FALLBACK_MOST_S = 0.1, 0.05, 1.0


@dataclass(frozen=True, slots=True)
class RankingRun:
    """A ranking by the ranker or its fallback.

    Attributes:
        ranking: The ranking; at least one candidate has a finite score, unless all are blank. Blank ones have none.
        problem: Why the ranker failed; ``None`` if it did not.
        hidden: Candidates that the ranker was not shown, because they cannot win.
    """

    ranking: Ranking
    problem: str | None = None
    hidden: frozenset[int] = frozenset()


async def run_ranking(
    load: Callable[[], Ranker],
    fallback: Ranker,
    prompt: str | Prompt,
    texts: Sequence[str],
    *,
    severities: Callable[[], Awaitable[Sequence[int]]] | None = None,
    ready: Callable[[], Ranker | None] = lambda: None,
    limit_s: float | None,
    stop_after: Callable[[float | None], None] = lambda _limit_s: None,
) -> RankingRun:
    """Rank the candidates; use the fallback if the ranker fails or times out.

    If the fallback fails too, all candidates are equal, so the order of the input is kept.

    Args:
        load: Loads or returns the ranker; called in a thread, so that loading counts towards the limit.
        fallback: A quick ranker.
        prompt: The prompt. A ranker with ``reads_conversations`` gets the turns, others one text.
        texts: The candidates.
        severities: Says how flawed each candidate is. A ranker that ``spends`` is shown the least flawed only, because
            the others rank last.
        ready: Returns the ranker at once if it needs no loading, else ``None``.
        limit_s: Seconds for both; ``None`` is no limit.
        stop_after: Told the seconds that the ranker has, before it begins.

    Returns:
        The ranking, and the problem if there was one.

    Raises:
        BlendError: The ranker can never work: its name is wrong, a package is missing, or no ranker reads its
            checkpoint.
    """
    reserve = 0.0 if limit_s is None else min(max(limit_s * _FALLBACK_SHARE, _FALLBACK_LEAST_S), _FALLBACK_MOST_S)
    first_limit = None if limit_s is None else max(0.0, limit_s - reserve)
    stop_after(first_limit)
    scope = asyncio.timeout(first_limit)
    try:
        async with scope:
            # loading is no turn of its own: all wait for the same weights
            ranker = ready()
            if ranker is None:
                ranker = await compute_in_thread(load)
            return await _rank(ranker, prompt, texts, severities)
    except Exception as error:
        if never_works(error):
            raise
        # a ranker may raise TimeoutError itself
        problem = "not ready before the deadline" if scope.expired() else told(error)
    try:
        async with asyncio.timeout(None if limit_s is None else reserve):
            # never in the queue of the rankings: it is quick, and the others may be late too
            ranking = await compute_in_thread(
                lambda: _checked(fallback.rank(prompt_for(fallback, prompt), texts), texts), turns=CHECKS
            )
        return RankingRun(ranking, f"ranker: {problem}; ranked by agreement in words")
    except Exception as error:
        # equal scores keep the order of the members
        last = _blanks_last(Ranking.from_scores([0.0] * len(texts), ranker="none"), texts)
        reason = f"ranker: {problem}; agreement in words: {type(error).__name__}; took all as equal"
        return RankingRun(last, reason)


def never_works(error: BaseException) -> bool:
    """Tell if a ranker that raised this would raise it at every call.

    Args:
        error: What loading or ranking raised.

    Returns:
        Whether its checkpoint, its name or an extra is wrong. A lost connection may pass.

    Examples:
        >>> never_works(CheckpointError("no head")), never_works(DownloadError("no connection"))
        (True, False)
    """
    if isinstance(error, DownloadError):
        return not error.may_pass
    return isinstance(error, CheckpointError | ConfigurationError | MissingExtraError)


async def _rank(
    ranker: Ranker,
    prompt: str | Prompt,
    texts: Sequence[str],
    severities: Callable[[], Awaitable[Sequence[int]]] | None,
) -> RankingRun:
    hidden: frozenset[int] = frozenset()
    if severities is not None and getattr(ranker, "spends", False):
        hidden = _beaten(texts, await severities())
    # blank in their place, so that numbers of candidates stay
    shown = ["" if index in hidden else text for index, text in enumerate(texts)]

    def rank() -> RankingRun:
        ranking = put_behind(_checked(ranker.rank(prompt_for(ranker, prompt), shown), shown), hidden)
        return RankingRun(_blanks_last(ranking, texts), hidden=hidden)

    turns = RANKINGS if getattr(ranker, "computes_locally", True) else None
    return await compute_in_thread(rank, turns=turns)


def _beaten(texts: Sequence[str], severities: Sequence[int]) -> frozenset[int]:
    """Find the candidates that rank behind another whatever a ranker says."""
    with_text = [(index, severity) for index, severity in enumerate(severities) if texts[index].strip()]
    least = min((severity for _, severity in with_text), default=0)
    return frozenset(index for index, severity in with_text if severity > least)


def usable_ranking(ranking: object, texts: Sequence[str]) -> Ranking:
    """Check what a ranker returned.

    Args:
        ranking: The ranking.
        texts: The candidates.

    Returns:
        It, with plain numbers.

    Raises:
        RankerError: It is none, does not fit the candidates, or has no finite score.
    """
    checked = checked_ranking(ranking, len(texts))
    if any(text.strip() for text in texts) and not any(map(math.isfinite, checked.scores)):
        raise RankerError(f"no finite score among {list(checked.scores)}")
    return checked


def _checked(ranking: object, texts: Sequence[str]) -> Ranking:
    return _blanks_last(_with_evidence(usable_ranking(ranking, texts)), texts)


def _with_evidence(ranking: Ranking) -> Ranking:
    """Say what a ranker says that is the only one."""
    if ranking.evidence:
        return ranking
    known = [score for score in ranking.scores if math.isfinite(score)]
    if not known:
        return ranking
    mean, scale = math.fsum(known) / len(known), ranking.logit_scale
    # a ranker's scores have any zero, so only differences are evidence
    said = tuple((score - mean) / scale if math.isfinite(score) else math.nan for score in ranking.scores)
    return replace(ranking, evidence={ranking.ranker: said})


def _blanks_last(ranking: Ranking, texts: Sequence[str]) -> Ranking:
    """Rank answers without text, such as an image alone, behind all others."""
    scores = [score if text.strip() else -math.inf for score, text in zip(ranking.scores, texts, strict=True)]
    if tuple(scores) == ranking.scores:
        return ranking
    return ranking.rescored(scores, comparisons=ranking.comparisons)

"""Who picks what: members, chance, oracles, rankers and finished systems as picks from the same candidates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from blender_core.rank.protocol import Ranker
from blender_core.types.ranking import Ranking
from blender_lab.evaluate.scored_records import ScoredRecord

__all__ = ["Kind", "Selection", "chance", "member", "oracle_pick", "run_ranker"]

Weights = Mapping[int, float]


class Kind(StrEnum):
    """What stands behind a row of the table.

    Attributes:
        MEMBER: One member's own answers.
        ORACLE: The best candidate by a metric or by the oracle, which nobody can know beforehand.
        CHANCE: The mean over all candidates: what picking by chance gives on average.
        RANKER: A ranker's first.
        SYSTEM: Finished answers that are no candidates, such as fused ones.
    """

    MEMBER = "member"
    ORACLE = "oracle"
    CHANCE = "chance"
    RANKER = "ranker"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a row picks.

    Attributes:
        name: The row's name.
        kind: What stands behind it.
        weights: For each record the picked candidates with their shares, ``None`` where nothing could be picked.
        rankings: A ranker's rankings of the pools, one a record; empty for others.
        seconds: Seconds that each ranking took; empty for others.
    """

    name: str
    kind: Kind
    weights: tuple[Weights | None, ...]
    rankings: tuple[Ranking, ...] = ()
    seconds: tuple[float, ...] = ()


def member(scored: Sequence[ScoredRecord], model: str, kind: Kind = Kind.MEMBER) -> Selection:
    """One model's own answers.

    Args:
        scored: The records.
        model: Its name.
        kind: ``MEMBER`` or ``SYSTEM``.

    Returns:
        The selection; ``None`` where the model has no answer.
    """
    picks: list[Weights | None] = []
    for one in scored:
        models = one.record.models
        picks.append({models.index(model): 1.0} if model in models else None)
    return Selection(model, kind, tuple(picks))


def chance(scored: Sequence[ScoredRecord]) -> Selection:
    """Every candidate of the pool with the same share: the expectation of a random pick, without its noise."""
    picks: list[Weights] = [dict.fromkeys(one.pool, 1.0 / len(one.pool)) for one in scored]
    return Selection("chance", Kind.CHANCE, tuple(picks))


def oracle_pick(
    scored: Sequence[ScoredRecord], name: str, values: Callable[[ScoredRecord], Sequence[float] | None]
) -> Selection:
    """The best candidates of the pool by some values; equal ones share the pick.

    Args:
        scored: The records.
        name: The row's name.
        values: Gives one value a candidate, greater is better, or ``None``.

    Returns:
        The selection.
    """
    picks: list[Weights | None] = []
    for one in scored:
        row = values(one)
        known = [] if row is None else [index for index in one.pool if not math.isnan(row[index])]
        if row is None or not known:
            picks.append(None)
            continue
        top = max(row[index] for index in known)
        best = [index for index in known if row[index] == top]
        picks.append(dict.fromkeys(best, 1.0 / len(best)))
    return Selection(name, Kind.ORACLE, tuple(picks))


def run_ranker(
    scored: Sequence[ScoredRecord],
    name: str,
    ranker: Ranker,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], None] | None = None,
) -> Selection:
    """Let a ranker pick from every pool.

    Args:
        scored: The records.
        name: The row's name.
        ranker: The ranker.
        clock: Seconds; injectable.
        progress: Called with the number of records done.

    Returns:
        The selection.

    Raises:
        RankerError: The ranker failed.
    """
    picks: list[Weights] = []
    rankings: list[Ranking] = []
    seconds: list[float] = []
    for done, one in enumerate(scored, 1):
        texts = [one.record.candidates[index].text for index in one.pool]
        started = clock()
        ranking = ranker.rank(one.record.prompt, texts)
        seconds.append(clock() - started)
        rankings.append(ranking)
        picks.append({one.pool[ranking.best]: 1.0})
        if progress is not None:
            progress(done)
    return Selection(name, Kind.RANKER, tuple(picks), tuple(rankings), tuple(seconds))

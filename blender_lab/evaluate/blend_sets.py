"""Blend sets: how good is the answer that the ranker picks among many models' answers?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from blender_core.data.preferences import PreferenceRecord
from blender_core.rank.baselines import LongestRanker
from blender_core.rank.lexical_consensus import LexicalConsensusRanker
from blender_core.rank.protocol import Ranker

__all__ = ["BlendNumbers", "evaluate_blend"]

_SHARE_OF_PROMPTS = 0.9


@dataclass(frozen=True, slots=True)
class BlendNumbers:
    """Mean scores on one blend set, on the set's own scale.

    Attributes:
        name: Name of the set.
        prompts: Number of prompts.
        candidates: Mean number of candidates.
        picked: Mean score of the ranker's first candidate.
        margin: Half the width of the 95% interval of ``picked``.
        random: Mean score of all candidates.
        longest: Mean score of the longest candidate.
        consensus: Mean score of the lexical consensus ranker's first.
        embedding_consensus: Mean score of the embedding consensus ranker's first; ``nan`` where it was not asked.
        best_single: Mean score of the best single member, among members that answered at least 90% of the
            prompts; ``nan`` where there is none.
        best_member: Its name.
        oracle: Mean score of the best candidate.
    """

    name: str
    prompts: int
    candidates: float
    picked: float
    margin: float
    random: float
    longest: float
    consensus: float
    best_single: float
    best_member: str
    oracle: float
    embedding_consensus: float = math.nan


def evaluate_blend(
    name: str,
    records: Iterable[PreferenceRecord],
    ranker: Ranker,
    *,
    embedding_consensus: Ranker | None = None,
) -> BlendNumbers:
    """Rank the candidates of every record and look up the score of the first.

    Args:
        name: Name of the set.
        records: Records with a score for each candidate; others are left out.
        ranker: The ranker.
        embedding_consensus: Agreement in meaning, as a baseline; ``None`` leaves it out.

    Returns:
        The numbers.
    """
    rankers: dict[str, Ranker] = {
        "picked": ranker,
        "longest": LongestRanker(),
        "consensus": LexicalConsensusRanker(),
    }
    if embedding_consensus is not None and embedding_consensus is not ranker:
        rankers["embedding_consensus"] = embedding_consensus
    picks: dict[str, list[float]] = {key: [] for key in (*rankers, "embedding_consensus")}
    means: list[float] = []
    best: list[float] = []
    sizes: list[int] = []
    members: dict[str, list[float]] = {}
    for record in records:
        if record.scores is None:
            continue
        for key, one in rankers.items():
            picks[key].append(record.scores[one.rank(record.prompt, record.candidates).best])
        means.append(_mean(record.scores))
        best.append(max(record.scores))
        sizes.append(len(record.scores))
        for model, score in zip(record.models, record.scores, strict=True):
            members.setdefault(model, []).append(score)
    steady = {
        model: _mean(scores)
        for model, scores in members.items()
        if model and _SHARE_OF_PROMPTS * len(means) <= len(scores) <= len(means)
    }
    best_member = max(steady, key=lambda model: steady[model], default="")
    return BlendNumbers(
        name=name,
        prompts=len(means),
        candidates=_mean(sizes),
        picked=_mean(picks["picked"]),
        margin=_margin(picks["picked"]),
        random=_mean(means),
        longest=_mean(picks["longest"]),
        consensus=_mean(picks["consensus"]),
        best_single=steady.get(best_member, math.nan),
        best_member=best_member,
        oracle=_mean(best),
        embedding_consensus=_mean(picks["picked" if embedding_consensus is ranker else "embedding_consensus"]),
    )


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else math.nan


def _margin(values: list[float]) -> float:
    if len(values) < 2:
        return math.nan
    mean = _mean(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return 1.96 * math.sqrt(variance / len(values))

"""Records made ready for the benchmark: metrics computed, the oracle asked, the pool of candidates chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from blender_core.data.mixinstruct import MixRecord
from blender_core.errors import ConfigurationError
from blender_lab.evaluate.gpt_rank import gpt_ranks
from blender_lab.evaluate.metrics.protocol import Metric, score_pairs
from blender_lab.evaluate.oracle import Oracle, filled_scores

__all__ = ["ScoredRecord", "score_records", "weighted"]


@dataclass(frozen=True, slots=True)
class ScoredRecord:
    """One record, ready.

    Attributes:
        record: The record.
        pool: Indices of the members' candidates, the ones that are ranked and picked from.
        columns: Metric -> one value for each candidate, ``nan`` where there is none. A metric without any value on
            this record is left out.
        ranks: The oracle's rank of each candidate, ``nan`` where there is none; ``None`` where it says nothing.
        oracle_scores: The oracle's scores behind the ranks.
    """

    record: MixRecord
    pool: tuple[int, ...]
    columns: Mapping[str, tuple[float, ...]]
    ranks: tuple[float, ...] | None
    oracle_scores: tuple[float, ...] | None


def score_records(
    records: Sequence[MixRecord],
    oracle: Oracle,
    *,
    metrics: Sequence[Metric] = (),
    systems: Collection[str] = (),
    exclude: Collection[str] = (),
    shared: str = "min",
    progress: Callable[[str], None] | None = None,
) -> list[ScoredRecord]:
    """Compute metrics, ask the oracle.

    Args:
        records: The records.
        oracle: The oracle.
        metrics: Metrics to compute against the records' references; a record without one is left out of them. A
            metric that the records already hold is computed anew.
        systems: Models that are no members: their answers, for example fused ones, are compared with the members'
            but not picked.
        exclude: Models that are left out altogether.
        shared: What equal candidates get as rank, see ``gpt_ranks``.
        progress: Called with the name of each metric before it runs.

    Returns:
        One scored record for each record that keeps a candidate.

    Raises:
        ConfigurationError: Metrics are asked for and no record has a reference, or nothing is left.
        RankerError: A metric failed.
    """
    computed: dict[str, list[tuple[float, ...] | None]] = {}
    for metric in metrics:
        if progress is not None:
            progress(metric.name)
        computed[metric.name] = _compute(records, metric)
    out = {*systems, *exclude}
    scored = []
    for place, record in enumerate(records):
        pool = tuple(index for index, model in enumerate(record.models) if model not in out)
        if not pool:
            continue
        names = sorted({name for candidate in record.candidates for name in candidate.scores} - set(computed))
        columns = {name: values for name in names if (values := filled_scores(record, name)) is not None}
        for name, rows in computed.items():
            row = rows[place]
            if row is not None:
                columns[name] = row
        scores = oracle.scores(record, pool)
        ranks = None if scores is None else gpt_ranks(scores, pool, shared=shared)
        scored.append(ScoredRecord(record, pool, columns, ranks, scores))
    if not scored:
        raise ConfigurationError(f"no candidate is left of {len(records)} records; exclude fewer models")
    return scored


def _compute(records: Sequence[MixRecord], metric: Metric) -> list[tuple[float, ...] | None]:
    texts: list[str] = []
    references: list[str] = []
    for record in records:
        if record.output.strip():
            texts += record.texts
            references += [record.output] * len(record.texts)
    if not texts:
        raise ConfigurationError(f"no record has a reference (output), which {metric.name} needs; leave the metric out")
    values = iter(score_pairs(metric, texts, references))
    return [tuple(next(values) for _ in record.texts) if record.output.strip() else None for record in records]


def weighted(weights: Mapping[int, float] | None, values: Sequence[float] | None) -> float:
    """Mean of a record's values under a selection.

    Args:
        weights: Candidate index -> share of the selection; ``None`` where nothing was selected.
        values: One value a candidate, or ``None``.

    Returns:
        The mean; ``nan`` where something is missing.
    """
    if weights is None or values is None:
        return math.nan
    return math.fsum(weight * values[index] for index, weight in weights.items())

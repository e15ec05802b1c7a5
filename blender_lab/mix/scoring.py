"""Score every candidate: by the prompt's check, and by metrics against the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from blender_core.data.mixinstruct import MixRecord
from blender_lab.mix.checks import passes

if TYPE_CHECKING:
    from blender_lab.evaluate.metrics import Metric

__all__ = ["CHECK_SCORE", "scored_by_check", "scored_by_metrics"]

CHECK_SCORE = "check"
"""Name under which the outcome of a check stands among a candidate's scores: 1 passed, 0 not."""


def scored_by_check(record: MixRecord) -> MixRecord:
    """Write into each candidate's scores whether it passes the record's check.

    Args:
        record: A record with candidates.

    Returns:
        The scored record; as it is where it has no check.

    Examples:
        >>> record = MixRecord.from_dict({"instruction": "2 + 2?", "check": {"kind": "number", "value": 4},
        ...     "candidates": [{"model": "a", "text": "It is 4."}, {"model": "b", "text": "5"}]})
        >>> scored_by_check(record).scores("check")
        (1.0, 0.0)
    """
    check = record.check
    if check is None:
        return record
    return replace(
        record,
        candidates=tuple(
            replace(candidate, scores={**candidate.scores, CHECK_SCORE: float(passes(check, candidate.text))})
            for candidate in record.candidates
        ),
    )


def scored_by_metrics(
    records: Sequence[MixRecord],
    metrics: Sequence[Metric],
    *,
    on_metric: Callable[[str], None] = lambda name: None,
) -> Iterator[MixRecord]:
    """Score the candidates of records that have a reference; all texts of a metric go in at once.

    Args:
        records: Records with candidates.
        metrics: The metrics.
        on_metric: Called with a metric's name when it is done.

    Yields:
        The records in order; those without a reference as they are.

    Raises:
        RankerError: A metric gave no finite number.
    """
    from blender_lab.evaluate.metrics import score_pairs

    texts = [(i, j) for i, record in enumerate(records) if record.output.strip() for j in range(len(record.candidates))]
    values: dict[tuple[int, int], dict[str, float]] = {place: {} for place in texts}
    for metric in metrics:
        if texts:
            candidates = [records[i].candidates[j].text for i, j in texts]
            scores = score_pairs(metric, candidates, [records[i].output for i, _ in texts])
            for place, score in zip(texts, scores, strict=True):
                values[place][metric.name] = score
        on_metric(metric.name)
    for i, record in enumerate(records):
        yield replace(
            record,
            candidates=tuple(
                replace(candidate, scores={**candidate.scores, **values.get((i, j), {})})
                for j, candidate in enumerate(record.candidates)
            ),
        )

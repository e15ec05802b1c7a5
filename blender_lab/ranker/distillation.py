"""A teacher's logits for the pairs of a record: stored in the record, or asked of a bigger ranker once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blender_core.data.preferences import PreferenceRecord
from blender_core.rank.protocol import Ranker
from blender_lab.ranker.targets import PairTarget

__all__ = ["PairLogits", "ask_teacher", "label_with_teacher", "with_teacher_pairs"]

PairLogits = dict[tuple[int, int], float]
"""``(i, j)`` with i < j -> logit that candidate i is better than candidate j."""


def ask_teacher(ranker: Ranker, record: PreferenceRecord) -> PairLogits:
    """Rank the candidates of a record.

    Args:
        ranker: Any ranker. Where it compares pairs its comparisons count, else the differences of its scores.
        record: The record.

    Returns:
        Finite logits; a blank candidate has none.

    Raises:
        RankerError: The ranker failed.

    Examples:
        >>> from blender_core.testing import FakeRanker
        >>> record = PreferenceRecord("1", "s", "p", ("aaa", "b"), ("", ""), None, ())
        >>> ask_teacher(FakeRanker(len), record)
        {(0, 1): 2.0}
    """
    ranking = ranker.rank(record.prompt, record.candidates)
    logits: PairLogits = {}
    for i, first in enumerate(ranking.scores):
        for j in range(i + 1, len(ranking.scores)):
            logit = first - ranking.scores[j]
            if ranking.comparisons is not None and not math.isnan(ranking.comparisons[i][j]):
                logit = ranking.comparisons[i][j]
            if math.isfinite(logit):
                logits[i, j] = logit
    return logits


def label_with_teacher(
    records: Sequence[PreferenceRecord],
    ranker: Ranker | None,
    *,
    cache: Path | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[PairLogits]:
    """Logits for every record.

    Args:
        records: The records.
        ranker: The teacher; ``None`` takes what the records hold.
        cache: JSON lines file that keeps each answer as soon as it is there, so that a run that was stopped asks
            only for the rest.
        report: Called with the records done and their number.

    Returns:
        Logits, in the order of ``records``.
    """
    if ranker is None:
        return [_stored(record) for record in records]
    known = _read(cache) if cache is not None and cache.is_file() else {}
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
    found: list[PairLogits] = []
    for number, record in enumerate(records, 1):
        key = _key(ranker.name, record)
        if key not in known:
            known[key] = ask_teacher(ranker, record)
            if cache is not None:
                line = json.dumps({"key": key, "logits": [[i, j, logit] for (i, j), logit in known[key].items()]})
                with cache.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
        found.append(known[key])
        if report is not None:
            report(number, len(records))
    return found


def with_teacher_pairs(pairs: Sequence[PairTarget], logits: Mapping[tuple[int, int], float]) -> list[PairTarget]:
    """Labelled pairs, and those that only the teacher knows with its probability as the label.

    Args:
        pairs: Pairs with a known order, i < j.
        logits: The teacher's logits.

    Returns:
        The pairs.

    Examples:
        >>> with_teacher_pairs([(0, 1, 1.0)], {(0, 1): -3.0, (0, 2): 0.0})
        [(0, 1, 1.0), (0, 2, 0.5)]
    """
    labelled = {pair[:2] for pair in pairs}
    extra = [
        (*pair, 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit)))))
        for pair, logit in logits.items()
        if pair not in labelled
    ]
    return [*pairs, *extra]


def _stored(record: PreferenceRecord) -> PairLogits:
    return {(i, j) if i < j else (j, i): logit if i < j else -logit for i, j, logit in record.teacher}


def _key(ranker: str, record: PreferenceRecord) -> str:
    digest = hashlib.sha256()
    for text in (ranker, record.prompt, *record.candidates):
        digest.update(f"{len(text)}:".encode())
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read(cache: Path) -> dict[str, PairLogits]:
    known: dict[str, PairLogits] = {}
    lines = cache.read_text(encoding="utf-8").splitlines(keepends=True)
    for line in lines:
        # a killed run may leave half a line
        if line.endswith("\n"):
            stored = json.loads(line)
            known[stored["key"]] = {(i, j): logit for i, j, logit in stored["logits"]}
    if lines and not lines[-1].endswith("\n"):
        cache.write_text("".join(lines[:-1]), encoding="utf-8")
    return known

"""From judgements and a teacher to the probability that one candidate is better than another."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from blender_core.rank.protocol import Ranker
from blender_core.runtime.outside import read_json
from blender_lab.data.preferences import PreferenceRecord

__all__ = [
    "PairLogits",
    "PairTarget",
    "ask_teacher",
    "label_with_teacher",
    "model_strengths",
    "pair_targets",
    "with_teacher_pairs",
]

PairTarget = tuple[int, int, float]
"""``(i, j, p)``: p in [0, 1] is the probability that candidate i is better than candidate j."""

_SMALLEST_GAP = 0.3


def model_strengths(records: Iterable[PreferenceRecord]) -> dict[str, float]:
    """Fit one strength for each model to soft comparisons that depend on the models alone.

    Least squares on the labels' log-odds (the linear form of the Bradley-Terry model).

    Args:
        records: Records of one source; every label lies strictly between 0 and 1.

    Returns:
        Log-odds strength by model, mean 0; empty where no label can be used.
    """
    odds: dict[tuple[str, str], list[float]] = {}
    for record in records:
        for i, j, p in record.comparisons:
            if 0.0 < p < 1.0:
                odds.setdefault((record.models[i], record.models[j]), []).append(math.log(p / (1.0 - p)))
    names = sorted({name for pair in odds for name in pair})
    if not names:
        return {}
    index = {name: position for position, name in enumerate(names)}
    matrix = np.zeros((len(odds) + 1, len(names)))
    values = np.zeros(len(odds) + 1)
    for row, ((first, second), seen) in enumerate(odds.items()):
        matrix[row, index[first]], matrix[row, index[second]] = 1.0, -1.0
        values[row] = sum(seen) / len(seen)
    matrix[-1] = 1.0
    solution = np.linalg.lstsq(matrix, values, rcond=None)[0]
    return dict(zip(names, map(float, solution), strict=True))


def pair_targets(
    record: PreferenceRecord,
    *,
    strengths: Mapping[str, float] | None = None,
    slope: float = 0.7,
) -> list[PairTarget]:
    """Every pair of one record with a known order.

    Args:
        record: The record.
        strengths: Strength by model; where given, it alone decides, and pairs closer than 0.3 are left out.
        slope: Log-odds for one step on a graded scale (such as 1 to 10). Scores that are all 0 or 1 are
            right or wrong, which leaves no doubt.

    Returns:
        Targets with i < j. Scores, where the record has them, go before comparisons: they give all pairs.

    Examples:
        >>> record = PreferenceRecord("1", "s", "p", ("a", "b", "c"), ("", "", ""), (1.0, 0.0, 0.0), ())
        >>> pair_targets(record)
        [(0, 1, 1.0), (0, 2, 1.0)]
    """
    if strengths:
        values: list[float | None] = [strengths.get(model) for model in record.models]
        return _graded(values, 1.0, _SMALLEST_GAP)
    if record.scores is not None:
        if set(record.scores) <= {0.0, 1.0}:
            return _graded(list(record.scores), math.inf, 0.5)
        return _graded(list(record.scores), slope, 0.0)
    return [(i, j, p) if i < j else (j, i, 1.0 - p) for i, j, p in record.comparisons]


def _graded(values: list[float | None], slope: float, smallest_gap: float) -> list[PairTarget]:
    targets: list[PairTarget] = []
    for i, first in enumerate(values):
        for j in range(i + 1, len(values)):
            second = values[j]
            if first is None or second is None or abs(first - second) < smallest_gap:
                continue
            gap = first - second
            margin = 0.0 if gap == 0.0 else max(-60.0, min(60.0, slope * gap))
            targets.append((i, j, round(1.0 / (1.0 + math.exp(-margin)), 6)))
    return targets


PairLogits = dict[tuple[int, int], float]
"""``(i, j)`` with i < j -> logit that candidate i is better than candidate j."""


def ask_teacher(ranker: Ranker, record: PreferenceRecord) -> PairLogits:
    """Rank the candidates of a record.

    Args:
        ranker: Any ranker. If it compares pairs, its comparisons count, else the differences of its scores.
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
            stored = read_json(line)
            known[stored["key"]] = {(i, j): logit for i, j, logit in stored["logits"]}
    if lines and not lines[-1].endswith("\n"):
        cache.write_text("".join(lines[:-1]), encoding="utf-8")
    return known

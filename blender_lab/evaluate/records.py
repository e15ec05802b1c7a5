"""The benchmark's records: loaded from a file or the hub, scored by metrics, ranked by the oracle."""

from __future__ import annotations

import gzip
import itertools
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError, DownloadError
from blender_core.runtime.extras import require
from blender_core.runtime.numbers import check_number
from blender_core.runtime.outside import read_json
from blender_lab.data.mixinstruct import MixCandidate, MixRecord, Verdict, prompt_text
from blender_lab.evaluate.metrics.registry import Metric, score_pairs
from blender_lab.evaluate.oracle import Oracle, filled_scores, gpt_ranks

__all__ = [
    "MIX_INSTRUCT",
    "ScoredRecord",
    "load_records",
    "record_from_preferences",
    "score_records",
    "weighted",
]

MIX_INSTRUCT = "llm-blender/mix-instruct"
"""MixInstruct on the hub: splits ``train`` (100,000), ``val`` and ``test`` (5,000 each, 4,771 with verdicts)."""

_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_LABELS = {"A": Verdict.A_IS_BETTER, "B": Verdict.B_IS_BETTER, "tie": Verdict.SAME_GOOD}


def load_records(
    source: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "test",
    limit: int | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
) -> list[MixRecord]:
    """Load the records of a benchmark.

    Args:
        source: A file (JSON lines, plain or ``.gz``) in MixInstruct's schema or in that of the preference data; the
            name of a set below ``data``, such as ``"blend_open11"`` or ``"weak/flask_ref"``; or a data set on the
            hub in MixInstruct's schema, such as ``"llm-blender/mix-instruct"``.
        data: Folder of the preference data.
        split: Split of a data set on the hub.
        limit: Only the first records; ``None`` for all.
        revision: Branch, tag or commit on the hub.
        cache_dir: Cache folder of the hub.

    Returns:
        The records that hold candidates, each with an ``id``. Candidates without a model, or with one that came
        before, are named by their place.

    Raises:
        ConfigurationError: There is no such file or set, a line cannot be read, no record holds a candidate, or
            ``limit`` is below 1.
        DownloadError: The data set cannot be had.
        MissingExtraError: A data set on the hub is asked for and ``huggingface-hub`` is not installed.
    """
    check_number("limit", limit, least=1, whole=True, none="all")
    path = _local_file(str(source), data)
    if path is None:
        path = _from_hub(str(source), split, revision, cache_dir)
    records = list(itertools.islice(_read(path), limit))
    if not records:
        raise ConfigurationError(f"{path} holds no record with candidates; blended-llm mix writes such files")
    return records


def record_from_preferences(line: Mapping[str, Any]) -> MixRecord:
    """Turn a record of the preference data into one of MixInstruct.

    Args:
        line: ``{"id", "source", "instruction", "candidates": [{"model", "text", "score"?}], "comparisons": [[i, j,
            label]], "reference"?, "meta"?}``; a label is ``"A"``, ``"B"``, ``"tie"`` or the probability that i is
            better.

    Returns:
        The record. A score becomes the metric ``"score"``; a tie becomes "Same good", because the data does not say
        whether both are bad; a probability counts as the more likely verdict; ``meta.dataset`` or ``source`` becomes
        the task. Candidates without a model, or with one that came before, are named by their place.

    Raises:
        ConfigurationError: A field is missing or of the wrong kind.

    Examples:
        >>> answers = [{"model": "a", "text": "x", "score": 0.1}, {"model": "b", "text": "y", "score": 0.9}]
        >>> record = record_from_preferences(
        ...     {"id": "1", "instruction": "?", "candidates": answers, "comparisons": [[0, 1, "B"]]})
        >>> record.cmp_results, record.scores("score")
        ({('a', 'b'): <Verdict.B_IS_BETTER: 'B is better'>}, (0.1, 0.9))
    """
    try:
        names = _own_names([str(candidate.get("model") or "") for candidate in line["candidates"]])
        candidates: list[MixCandidate] = []
        for name, candidate in zip(names, line["candidates"], strict=True):
            score = candidate.get("score")
            scores = {} if score is None else {"score": score}
            candidates.append(MixCandidate.from_dict({"model": name, "text": candidate["text"], "scores": scores}))
        judged = {}
        for first, second, label in line.get("comparisons") or ():
            judged[candidates[first].model, candidates[second].model] = _verdict(label)
        meta = line.get("meta") or {}
        return MixRecord(
            id=str(line["id"]),
            instruction=prompt_text(line),
            output=str(line.get("reference") or ""),
            candidates=tuple(candidates),
            cmp_results=judged or None,
            task=str(meta.get("dataset") or meta.get("task") or line.get("source") or ""),
        )
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(
            f"not a preference record ({type(error).__name__}: {error}): {str(dict(line))[:200]}"
        ) from error


def _own_names(models: Sequence[str]) -> list[str]:
    """A name of its own for each candidate: its place if it has none, or one that came before."""
    names: list[str] = []
    for place, model in enumerate(models):
        name = model or f"candidate {place}"
        while name in names:
            name = f"{name} ({place})"
        names.append(name)
    return names


def _with_own_names(record: MixRecord) -> MixRecord:
    named = zip(record.candidates, _own_names(record.models), strict=True)
    return replace(record, candidates=tuple(replace(candidate, model=name) for candidate, name in named))


def _verdict(label: Any) -> Verdict:
    if isinstance(label, str):
        if label not in _LABELS:
            raise ConfigurationError(f'label {label!r} is not "A", "B", "tie" or a probability')
        return _LABELS[label]
    probability = float(label)
    if probability == 0.5:
        return Verdict.SAME_GOOD
    return Verdict.A_IS_BETTER if probability > 0.5 else Verdict.B_IS_BETTER


def _local_file(source: str, data: str | Path | None) -> Path | None:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if data is not None:
        for name in (source, f"eval/{source}"):
            for suffix in _SUFFIXES:
                found = Path(data) / f"{name}{suffix}"
                if found.is_file():
                    return found
    if source.endswith(_SUFFIXES):
        raise ConfigurationError(f"there is no file {source}")
    if source.count("/") != 1:
        where = f"{data}/eval" if data is not None else "a data folder (give --data DIR or set BLENDER_DATA)"
        raise ConfigurationError(
            f"no benchmark {source!r}: it is no file, not in {where}, and no name of a data set on the hub"
        )
    return None


def _from_hub(name: str, split: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    """The JSON lines of a split, as they are.

    The ``datasets`` library is not used: it no longer runs a repository's loading script, and it would give every
    candidate the fields of all others.
    """
    hub = require("huggingface_hub", feature=f"the data set {name}", extra="torch")
    try:
        files = hub.HfApi().list_repo_files(name, repo_type="dataset", revision=revision)
        wanted = [file for file in files if file.endswith(_SUFFIXES) and Path(file).name.startswith(split)]
        if not wanted:
            raise ConfigurationError(
                f"{name} has no JSON lines for the split {split!r}; it has {', '.join(files)[:300]}"
            )
        found = hub.hf_hub_download(
            name, min(wanted, key=len), repo_type="dataset", revision=revision, cache_dir=cache_dir
        )
    except ConfigurationError:
        raise
    except Exception as error:  # the hub's client raises many kinds, of its own and of its transport
        raise DownloadError(
            f"the data set {name} cannot be had: {type(error).__name__}: {error}. Check the name and the connection, "
            "or give a file"
        ) from error
    return Path(str(found))


def _read(path: Path) -> Iterator[MixRecord]:
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as file:
            if file.read(1).strip() == "[":
                raise ConfigurationError(f"{path} holds one JSON list; write one object a line")
            file.seek(0)
            for number, text in enumerate(file, 1):
                if text.strip():
                    record = _from_line(text, f"{path}, line {number}", number)
                    if record.candidates:
                        yield record
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; give JSON lines in UTF-8, plain or .gz") from error


def _from_line(text: str, where: str, number: int) -> MixRecord:
    try:
        line = read_json(text)
        if not isinstance(line, Mapping):
            raise ConfigurationError("a line is no JSON object")
        if line.get("id") in (None, ""):
            line = {**line, "id": str(number)}
        if "comparisons" in line:
            return record_from_preferences(line)
        return _with_own_names(MixRecord.from_dict(line))
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error


@dataclass(frozen=True, slots=True)
class ScoredRecord:
    """One record, ready.

    Attributes:
        record: The record.
        pool: Indices of the members' candidates, the ones that are ranked and picked from.
        columns: Metric -> one value for each candidate, ``nan`` without one. A metric without any value on
            this record is left out.
        ranks: The oracle's rank of each candidate, ``nan`` without one; ``None`` if it says nothing.
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
        if computed:
            # a metric may be the oracle
            record = _with_scores(record, {name: columns[name] for name in computed if name in columns})
        scores = oracle.scores(record, pool)
        ranks = None if scores is None else gpt_ranks(scores, pool, shared=shared)
        scored.append(ScoredRecord(record, pool, columns, ranks, scores))
    if not scored:
        raise ConfigurationError(f"no candidate is left of {len(records)} records; exclude fewer models")
    return scored


def _with_scores(record: MixRecord, columns: Mapping[str, Sequence[float]]) -> MixRecord:
    """Add computed metrics to the scores of a record's candidates."""
    candidates = [
        replace(candidate, scores={**candidate.scores, **{name: values[place] for name, values in columns.items()}})
        for place, candidate in enumerate(record.candidates)
    ]
    return replace(record, candidates=tuple(candidates))


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
    """Average a record's values under a selection.

    Args:
        weights: Candidate index -> share of the selection; ``None`` if nothing was selected.
        values: One value a candidate, or ``None``.

    Returns:
        The mean; ``nan`` if something is missing.
    """
    if weights is None or values is None:
        return math.nan
    return math.fsum(weight * values[index] for index, weight in weights.items())

"""Preference data of a run, from files and data sets, in the project's format and in others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from blender_core.errors import ConfigurationError, DownloadError
from blender_core.runtime.extras import require
from blender_core.types.prompt import Prompt
from blender_lab.data.json_lines import json_lines
from blender_lab.data.mixinstruct import MixRecord, Verdict
from blender_lab.data.preferences import PreferenceRecord
from blender_lab.data_folder import data_file
from blender_lab.training.settings import Names, Settings

__all__ = [
    "SourceConfig",
    "read_source",
    "read_table",
    "record_of_row",
]

_PROBABILITY = {Verdict.A_IS_BETTER: 1.0, Verdict.B_IS_BETTER: 0.0, Verdict.SAME_GOOD: 0.5, Verdict.SAME_BAD: 0.5}
_LABELS = {"a": 1.0, "b": 0.0, "tie": 0.5, "0": 1.0, "1": 0.0}
# how hh-rlhf and its kind mark the last turn
_LAST_TURN = "\n\nAssistant:"


class SourceConfig(Settings):
    """One source of preference records: a file, or a data set of the Hugging Face hub.

    Attributes:
        file: File below the data folder. JSON lines, plain or gzip, or what ``datasets`` reads: ``.parquet``,
            ``.csv``, ``.json``.
        dataset: Instead of ``file``: a data set's name on the hub, or a folder below the data folder, of files or as
            ``Dataset.save_to_disk`` wrote it. Needs the ``train`` extra.
        subset: Configuration of the data set, ``""`` for its default.
        split: Its split.
        format: ``"preference"`` (the project's own), ``"mixinstruct"``, ``"chosen_rejected"`` (prompt, chosen,
            rejected) or ``"pair"`` (prompt, two answers, label); see ``docs/training.md``.
        columns: Field of the format -> column of the data, if they differ.
        metric: For ``"mixinstruct"``: the score that orders candidates which nobody compared.
        share: Weight of the source when prompts are drawn.
        only: Keep only records with one of these ``source`` values; empty for all.
        group: Candidates drawn for one prompt.
        by_model: The labels depend on the models alone: fit one strength per model and order by it.
        slope: Log-odds for one step of a graded score; right for 1 to 10. The larger, the harder the labels.
        refusals: A refusal may serve as a bad answer (not for prompts that should be refused).
    """

    file: str = ""
    dataset: str = ""
    subset: str = ""
    split: str = "train"
    format: Literal["chosen_rejected", "mixinstruct", "pair", "preference"] = "preference"
    columns: dict[str, str] = Field(default_factory=dict)
    metric: str = "bartscore"
    share: float = Field(default=1.0, ge=0)
    only: Names = ()
    group: int = Field(default=5, ge=2)
    by_model: bool = False
    slope: float = Field(default=0.7, gt=0)
    refusals: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.file) == bool(self.dataset):
            raise ConfigurationError(
                f"a source has file {self.file!r} and dataset {self.dataset!r}; give exactly one of them"
            )
        return self


def record_of_row(
    row: Mapping[str, Any],
    *,
    format: str,
    name: str,
    number: int,
    columns: Mapping[str, str] | None = None,
    metric: str = "bartscore",
) -> PreferenceRecord:
    """Turn one decoded line or row into a record.

    Args:
        row: The row.
        format: ``"preference"``, ``"mixinstruct"``, ``"chosen_rejected"`` or ``"pair"``.
        name: Name of the source, where the row names none.
        number: Number of the row, for its id and for messages.
        columns: Field of the format -> column of the row, where they differ.
        metric: The score that orders MixInstruct's candidates where nobody compared them.

    Returns:
        The record.

    Raises:
        ConfigurationError: A field is missing or of the wrong kind; the message names the row.

    Examples:
        >>> row = {"question": "2 + 2?", "chosen": "4", "rejected": "5"}
        >>> record = record_of_row(row, format="chosen_rejected", name="mine", number=1,
        ...                        columns={"prompt": "question"})
        >>> record.prompt, record.candidates, record.comparisons
        ('2 + 2?', ('4', '5'), ((0, 1, 1.0),))
    """
    if columns:
        absent = sorted(set(columns.values()) - set(row))
        if absent:
            raise ConfigurationError(
                f"{name}, row {number} has no column {', '.join(map(repr, absent))}; it has {', '.join(sorted(row))}"
            )
        row = {**row, **{key: row[column] for key, column in columns.items()}}
    try:
        if format == "mixinstruct":
            return _mixinstruct(row, name, number, metric)
        return _READERS[format]({"id": number, "source": name, **row})
    except (KeyError, TypeError, ValueError, IndexError, ConfigurationError) as error:
        what = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigurationError(f"{name}, row {number} is no {format} record: {what}") from error


def _mixinstruct(row: Mapping[str, Any], name: str, number: int, metric: str) -> PreferenceRecord:
    mix = MixRecord.from_dict(row)
    scores = [score for score in mix.scores(metric) if score is not None]
    place = {model: index for index, model in enumerate(mix.models)}
    judged = mix.cmp_results or {}
    unknown = sorted({model for pair in judged for model in pair} - set(place))
    if unknown:
        raise ConfigurationError(f"cmp_results names {', '.join(unknown)}, which are no candidates")
    comparisons = tuple((place[a], place[b], _PROBABILITY[verdict]) for (a, b), verdict in judged.items())
    if not comparisons and len(scores) < len(mix.candidates):
        known = sorted({key for candidate in mix.candidates for key in candidate.scores})
        raise ConfigurationError(f"neither cmp_results nor a score {metric!r} for every candidate; scores are {known}")
    return PreferenceRecord(
        id=mix.id or str(number),
        source=str(row.get("source") or name),
        prompt=mix.prompt,
        candidates=mix.texts,
        models=mix.models,
        # a judge's verdicts are worth more than a metric
        scores=None if comparisons else tuple(scores),
        comparisons=comparisons,
    )


def _chosen_rejected(row: Mapping[str, Any]) -> PreferenceRecord:
    prompt, (chosen, rejected) = _prompt_and_answers(row.get("prompt"), [row["chosen"], row["rejected"]])
    scores = [row.get("score_chosen"), row.get("score_rejected")]
    # some data sets keep pairs that the judge found equal
    probability = 0.5 if scores[0] is not None and scores[0] == scores[1] else 1.0
    return _pair_record(row, prompt, chosen, rejected, probability)


def _pair(row: Mapping[str, Any]) -> PreferenceRecord:
    prompt, (first, second) = _prompt_and_answers(row.get("prompt"), [row["a"], row["b"]])
    return _pair_record(row, prompt, first, second, _probability(row["label"]))


def _pair_record(row: Mapping[str, Any], prompt: str, first: str, second: str, label: float) -> PreferenceRecord:
    return PreferenceRecord(
        id=str(row["id"]),
        source=str(row["source"]),
        prompt=prompt,
        candidates=(first, second),
        models=("", ""),
        scores=None,
        comparisons=((0, 1, label),),
    )


def _probability(label: object) -> float:
    if isinstance(label, str):
        found = _LABELS.get(label.strip().lower().removeprefix("model_").removeprefix("response_"))
        if found is not None:
            return found
        label = "tie" if "tie" in label.lower() else label
        if label == "tie":
            return 0.5
    if isinstance(label, (int, float)) and not isinstance(label, bool) and 0.0 <= label <= 1.0:
        return float(label)
    raise ConfigurationError(f"label {label!r}; give A, B, tie, or the probability in [0, 1] that a is better")


def _prompt_and_answers(prompt: Any, answers: Sequence[Any]) -> tuple[str, list[str]]:
    """Texts of prompt and answers; whole conversations without a prompt are split at their last turn."""
    if prompt is not None:
        return _text(prompt), [_last_answer(answer, prompt) for answer in answers]
    if all(_is_chat(answer) for answer in answers):
        return _conversation(answers[0][:-1]), [_content(answer[-1]) for answer in answers]
    heads, tails = zip(*(str(answer).rpartition(_LAST_TURN)[::2] for answer in answers), strict=True)
    if not heads[0].strip():
        raise ConfigurationError("no prompt, and the answers are no conversations; name the column of the prompt")
    return heads[0].replace("\n\nHuman:", "\n\nUser:").strip(), [tail.strip() for tail in tails]


def _last_answer(answer: Any, prompt: Any) -> str:
    if _is_chat(answer):
        return _content(answer[-1])
    if not isinstance(answer, str):
        raise ConfigurationError(f"an answer is {type(answer).__name__}; give a text or a list of messages")
    return answer


def _text(value: Any) -> str:
    if _is_chat(value):
        return _conversation(value)
    if not isinstance(value, str):
        raise ConfigurationError(f"the prompt is {type(value).__name__}; give a text or a list of messages")
    return value


def _is_chat(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(m, Mapping) for m in value)


def _conversation(messages: Sequence[Mapping[str, Any]]) -> str:
    """One user message is the prompt itself, more become ``User:`` and ``Assistant:`` blocks."""
    if len(messages) == 1:
        return _content(messages[0])
    return "\n\n".join(f"{str(m['role']).capitalize()}: {_content(m)}" for m in messages)


def _content(message: Mapping[str, Any]) -> str:
    """Return a message's content as a ranker reads it in a call: typed parts and tool calls as text."""
    content = message["content"]
    if isinstance(content, str):
        return content
    turn = {"role": "assistant", "content": content, "tool_calls": message.get("tool_calls")}
    return Prompt.of([turn]).messages[0].content


_READERS: dict[str, Callable[[Mapping[str, Any]], PreferenceRecord]] = {
    "chosen_rejected": _chosen_rejected,
    "pair": _pair,
    "preference": PreferenceRecord.from_dict,
}


_TABLES = {".parquet": "parquet", ".csv": "csv", ".json": "json"}


def read_source(source: SourceConfig, data: str | Path | None, *, name: str = "data") -> Iterator[PreferenceRecord]:
    """Read every record of a source.

    Args:
        source: Where they are, and in which format.
        data: The data folder; ``None`` for ``BLENDER_DATA``. An absolute ``file`` and the hub's data sets need none.
        name: Name of the source, for records that name none.

    Yields:
        The records in order.

    Raises:
        ConfigurationError: A file is missing, or a row cannot be read; the message names it.
        DownloadError: A data set of the hub cannot be had.
        MissingExtraError: ``datasets`` is needed and not installed.
    """
    rows = _dataset_rows(source, data) if source.dataset else _file_rows(data_file(source.file, data))
    for number, (place, row) in enumerate(rows, 1):
        # other sources' rows in the file may have another form
        if source.only and source.format == "preference" and row.get("source") not in source.only:
            continue
        try:
            record = record_of_row(
                row, format=source.format, name=name, number=number, columns=source.columns, metric=source.metric
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}{error}") from error
        if not source.only or record.source in source.only:
            yield record


def read_table(path: str | Path) -> Iterator[Mapping[str, Any]]:
    """Rows of a JSON lines file, plain or ``.gz``, or of a ``.parquet``, ``.csv`` or ``.json`` file.

    Args:
        path: The file.

    Yields:
        A mapping for each row.

    Raises:
        ConfigurationError: There is no such file, or a line is no JSON object.
        MissingExtraError: The file needs ``datasets``, which is not installed.
    """
    for _, row in _file_rows(Path(path)):
        yield row


def _file_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows, each after the place that a message about it begins with."""
    if path.suffix not in _TABLES:
        for number, row in json_lines(path):
            yield f"{path}, line {number}: ", row
        return
    if not path.is_file():
        raise ConfigurationError(f"no data file {path}; give the data folder (BLENDER_DATA or --data)")
    for columns in _load(_TABLES[path.suffix], "train", data_files=str(path)):
        yield f"{path}: ", columns


def _dataset_rows(source: SourceConfig, data: str | Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    local = Path(data or os.environ.get("BLENDER_DATA") or "") / source.dataset
    path = str(local) if local.exists() else source.dataset
    options = {"name": source.subset} if source.subset else {}
    for row in _load(path, source.split, **options):
        yield "", row


def _load(path: str, split: str, **options: Any) -> Iterator[Mapping[str, Any]]:
    datasets = require("datasets", feature="reading a data set", extra="train")
    local = "data_files" in options or Path(path).exists()
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if _was_saved(Path(path)):
            table = datasets.load_from_disk(path)
            table = table[split] if isinstance(table, datasets.DatasetDict) else table
        else:
            # local files are read as they are, the hub's are kept in its cache
            table = datasets.load_dataset(path, split=split, streaming=local, **options)
        yield from table
    except (ConfigurationError, GeneratorExit):
        raise
    except Exception as error:  # datasets, pyarrow and the hub raise many kinds
        message = f"data set {options.get('data_files', path)} (split {split}) cannot be read: {error}"
        if local:
            raise ConfigurationError(f"{message}; check the file and the split") from error
        raise DownloadError(f"{message}. Check the name and the connection, or give a folder.") from error
    finally:
        if shown:
            datasets.enable_progress_bars()


def _was_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote a folder; ``load_dataset`` refuses those."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))

"""Reading a source of a run: a file, or a data set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blender_core.data.json_lines import json_lines
from blender_core.data.preferences import PreferenceRecord
from blender_core.errors import ConfigurationError, DownloadError
from blender_core.runtime.extras import require
from blender_lab.ranker.config import SourceConfig
from blender_lab.training.formats import record_of_row

__all__ = ["read_source", "read_table"]

_TABLES = {".parquet": "parquet", ".csv": "csv", ".json": "json"}


def read_source(source: SourceConfig, data: str | Path, *, name: str = "data") -> Iterator[PreferenceRecord]:
    """Read every record of a source.

    Args:
        source: Where they are, and in which format.
        data: The data folder; an absolute ``file`` does not need it.
        name: Name of the source, for records that name none.

    Yields:
        The records in order.

    Raises:
        ConfigurationError: A file is missing, or a row cannot be read; the message names it.
        DownloadError: A data set of the hub cannot be had.
        MissingExtraError: ``datasets`` is needed and not installed.
    """
    rows = _dataset_rows(source, Path(data)) if source.dataset else _file_rows(Path(data) / source.file)
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


def _dataset_rows(source: SourceConfig, data: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    local = data / source.dataset
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

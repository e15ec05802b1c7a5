"""Write the output from the journals, in the order of the input, and replace the old one at once."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require
from blender_lab.batch.answering import Mode
from blender_lab.batch.finished_rows import FinishedRows

__all__ = ["Written", "check_output", "failed_file", "write_output"]

_PARQUET_ROWS = 10_000
_OF_GATHERED = ("status", "error", "latency_s", "attempts", "input_tokens", "output_tokens", "cost", "finish_reason")


@dataclass(slots=True)
class Written:
    """Counts what was written.

    Attributes:
        rows: Rows of the output.
        failed: Rows of the file of failed rows.
        wins: Rows that each member won.
        causes: Failed rows by cause.
        first_failure: Reason of the first failed row.
    """

    rows: int = 0
    failed: int = 0
    wins: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    first_failure: str = ""


def failed_file(out: Path) -> Path:
    """Name the file of failed rows, next to the output.

    Examples:
        >>> failed_file(Path("out.jsonl")).name
        'out.jsonl.failed.jsonl'
    """
    return out.with_name(f"{out.name}.failed.jsonl")


def check_output(source: Path, out: Path) -> None:
    """Refuse an output that cannot be written.

    Raises:
        ConfigurationError: Its folder is missing, it is no file, it is the input, or its name has another ending.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    if not out.name.endswith((".jsonl", ".jsonl.gz", ".parquet")):
        raise ConfigurationError(f"--out is {out}; use a name in .jsonl, .jsonl.gz or .parquet")
    if not out.parent.is_dir():
        raise ConfigurationError(f"there is no folder {out.parent}; make it or give another --out")
    if out.exists() and not out.is_file():
        raise ConfigurationError(f"{out} is not a regular file; give another --out")
    if source.is_dir() and out.parent == source.absolute():
        raise ConfigurationError(f"{out} would be one of the files to read; give an --out in another folder")
    for path in (out, failed_file(out)):
        if path.exists() and source.exists() and path.samefile(source):
            raise ConfigurationError(f"{path} holds the rows; give another --out")
    if out.suffix == ".parquet":
        require("pyarrow.parquet", feature="a Parquet file", extra="ray")


def write_output(finished: FinishedRows, last: int, out: Path, mode: Mode) -> Written:
    """Write what is finished.

    Args:
        finished: The outcomes.
        last: Number of the last row.
        out: The output; an older one stays until this one is whole. A link stays one.
        mode: What the rows hold.

    Returns:
        What was written. Without failed rows there is no file of them.
    """
    out = out.resolve()
    failed = failed_file(out)
    written = Written()
    with _replacing(out) as part, _replacing(failed) as failed_part:
        writer: _Writer = _ParquetWriter(part, mode) if out.suffix == ".parquet" else _LinesWriter(part, out.suffix)
        failures = _LinesWriter(failed_part, failed.suffix)
        try:
            for one, row in finished.lines(last):
                if one.ok:
                    writer.add(row)
                    written.rows += 1
                    written.wins[one.by] += bool(one.by)
                else:
                    failures.add(row)
                    written.first_failure = written.first_failure or json.loads(row)["reason"]
                    written.failed += 1
                    written.causes[one.by] += 1
        finally:
            writer.close()
            failures.close()
    if not written.failed:
        failed.unlink(missing_ok=True)
    written.wins = +written.wins
    return written


class _Writer(Protocol):
    def add(self, row: bytes) -> None: ...
    def close(self) -> None: ...


class _LinesWriter:
    def __init__(self, path: Path, suffix: str) -> None:
        self._raw = path.open("wb")
        # neither name nor time, so that equal rows give equal files
        packed = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", mtime=0) if suffix == ".gz" else None
        self._packed = packed
        self._file = io.BufferedWriter(packed, 1 << 16) if packed is not None else self._raw

    def add(self, row: bytes) -> None:
        self._file.write(row)
        self._file.write(b"\n")

    def close(self) -> None:
        if self._raw.closed:
            return
        self._file.flush()
        if self._packed is not None:
            self._packed.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()


class _ParquetWriter:
    def __init__(self, path: Path, mode: Mode) -> None:
        arrow = require("pyarrow", feature="a Parquet file", extra="ray")
        parquet = require("pyarrow.parquet", feature="a Parquet file", extra="ray")
        text, number = arrow.string(), arrow.float64()
        columns: dict[str, Any] = {"id": text, "text": text, "winner": text, "report": text}
        if mode == "gather":
            numbers = {"latency_s", "attempts", "input_tokens", "output_tokens", "cost"}
            parts = {
                "model": text,
                "text": text,
                **{name: number if name in numbers else text for name in _OF_GATHERED},
            }
            candidates = arrow.list_(arrow.struct(list(parts.items())))
            columns = {"id": text, "instruction": text, "input": text, "candidates": candidates}
        self._table: Any = arrow.Table
        self._schema: Any = arrow.schema(list(columns.items()))
        self._writer: Any = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._mode = mode

    def add(self, row: bytes) -> None:
        held = json.loads(row)
        held["id"] = held["id"] if isinstance(held["id"], str) else json.dumps(held["id"])
        if self._mode == "gather":
            held["instruction"] = held.get("instruction", held.get("prompt"))
            held["candidates"] = [
                {"model": one["model"], "text": one["text"], **one.get("gathered", {})} for one in held["candidates"]
            ]
        else:
            held["report"] = json.dumps(held["report"], ensure_ascii=False)
        self._rows.append(held)
        if len(self._rows) == _PARQUET_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    part = path.with_name(f"{path.name}.partial")
    try:
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, path)

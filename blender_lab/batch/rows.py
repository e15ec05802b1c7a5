"""Read rows by number from JSON lines and Parquet, all of them or a stretch, without holding a file in memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require

__all__ = ["RawRow", "RowFiles", "Stretch"]

_PARQUET_ROWS = 1024
_ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


@dataclass(frozen=True, slots=True)
class RawRow:
    """Holds one row that is not parsed yet.

    Attributes:
        number: Its number over all files, from 1. Blank lines have numbers, but are no rows.
        line: Its number in its file, from 1.
        file: Position of its file among the input files.
        start: Where it begins: the byte in JSON lines, the row in Parquet.
        content: The row as JSON.
        where: File and line, for messages.
    """

    number: int
    line: int
    file: int
    start: int
    content: bytes
    where: str

    @property
    def digest(self) -> int:
        """Hash of the content; an answer belongs to a row only while this is the same."""
        return int.from_bytes(hashlib.blake2b(self.content, digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Names rows that follow each other in one file.

    Attributes:
        file: Position of the file.
        start: Where the first row begins: the byte in JSON lines, the row in Parquet.
        line: Number of the first row in the file.
        number: Number of the first row over all files.
        count: How many numbers it spans, blank lines among them.
    """

    file: int
    start: int
    line: int
    number: int
    count: int


class RowFiles:
    """Reads a file of rows, or the files of a folder in the order of their names.

    Args:
        path: JSON lines (plain, or ``.gz``) or ``.parquet``, or a folder of such files.
        unpacked: Folder in which packed files are unpacked for `stretch`; ``None`` if it is not called.

    Raises:
        ConfigurationError: There is no such file, or a folder without files to read.
        MissingExtraError: A file is Parquet, and pyarrow is not installed.
    """

    def __init__(self, path: Path, unpacked: Path | None = None) -> None:
        if str(path) == "-":
            raise ConfigurationError("standard input cannot be read again after a kill; write the rows into a file")
        path = path.expanduser()
        found = sorted(one for one in path.iterdir() if one.name.endswith(_ENDINGS)) if path.is_dir() else [path]
        if not found:
            raise ConfigurationError(f"{path} holds no file of rows; the names end in {', '.join(_ENDINGS)}")
        if not all(one.is_file() for one in found):
            raise ConfigurationError(f"there is no file {path}; give JSON lines, plain or .gz, or Parquet")
        self.files = tuple(one.absolute() for one in found)
        self._unpacked = unpacked
        # the iterator over a Parquet file, where it stands, and the rows that it will yield next
        self._open: tuple[int, int, Iterator[tuple[int, dict[str, Any]]]] | None = None
        if any(map(_is_parquet, self.files)):
            self._parquet = require("pyarrow.parquet", feature="a Parquet file", extra="ray")

    def rows(self) -> Iterator[RawRow]:
        """Read all rows.

        Yields:
            The rows; blank lines are skipped.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        before = 0
        for file, path in enumerate(self.files):
            count = 0
            with _reading(path):
                for line, start, content in self._all(file):
                    count = line
                    if content:
                        yield RawRow(before + line, line, file, start, content, f"{path}, line {line}")
            before += count

    def stretch(self, stretch: Stretch) -> list[RawRow]:
        """Read some rows; those that follow the last ones are the quickest.

        Args:
            stretch: Which.

        Returns:
            The rows, without blank lines.

        Raises:
            ConfigurationError: The file cannot be read.
        """
        path = self.files[stretch.file]
        with _reading(path):
            if _is_parquet(path):
                contents = self._parquet_rows(stretch.file, stretch.start, stretch.count)
            else:
                with self._plain(stretch.file).open("rb") as file:
                    file.seek(stretch.start)
                    contents = [content for _, content in zip(range(stretch.count), _contents(file), strict=False)]
        return [
            RawRow(stretch.number + place, line, stretch.file, -1, content, f"{path}, line {line}")
            for place, content in enumerate(contents)
            if (line := stretch.line + place) and content
        ]

    def _all(self, file: int) -> Iterator[tuple[int, int, bytes]]:
        path = self.files[file]
        if _is_parquet(path):
            for row, values in self._from_row(file, 0):
                yield row + 1, row, _encoded(values)
            return
        start = 0
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield number, start, _content(line, first=number == 1)
                start += len(line)

    def _parquet_rows(self, file: int, start: int, count: int) -> list[bytes]:
        # a long way on is quicker from the beginning of its row group, where nothing becomes Python objects
        if self._open is None or self._open[0] != file or not 0 <= start - self._open[1] <= _PARQUET_ROWS:
            self._open = file, start, self._from_row(file, start)
        contents = []
        for row, values in self._open[2]:
            if row >= start:
                contents.append(_encoded(values))
            if row == start + count - 1:
                break
        self._open = file, start + count, self._open[2]
        return contents

    def _from_row(self, file: int, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._parquet.ParquetFile(self.files[file]) as opened:
            row, groups = 0, opened.metadata.num_row_groups
            for group in range(groups):
                size = opened.metadata.row_group(group).num_rows
                if row + size > start:
                    break
                row += size
            else:
                return
            for batch in opened.iter_batches(batch_size=_PARQUET_ROWS, row_groups=list(range(group, groups))):
                if row + len(batch) > start:
                    yield from enumerate(batch.to_pylist(), row)
                row += len(batch)

    def _plain(self, file: int) -> Path:
        path = self.files[file]
        if path.suffix != ".gz" or self._unpacked is None:
            return path
        return self._unpacked / f"input-{file}.jsonl"

    def unpack(self) -> None:
        """Unpack ``.gz`` files, because nothing can be read from the middle of one.

        Raises:
            ConfigurationError: One cannot be read.
        """
        for file, path in enumerate(self.files):
            plain = self._plain(file)
            if plain == path:
                continue
            partial = plain.with_suffix(".partial")
            with _reading(path), gzip.open(path, "rb") as packed, partial.open("wb") as written:
                while piece := packed.read(1 << 20):
                    written.write(piece)
            os.replace(partial, plain)


def _is_parquet(path: Path) -> bool:
    return path.suffix == ".parquet"


def _contents(lines: IO[bytes]) -> Iterator[bytes]:
    at_start = lines.tell() == 0
    for number, line in enumerate(lines):
        yield _content(line, first=at_start and number == 0)


def _content(line: bytes, *, first: bool) -> bytes:
    return line.removeprefix(b"\xef\xbb\xbf").strip() if first else line.strip()


def _encoded(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    # pyarrow's errors are ValueErrors or OSErrors
    except (OSError, EOFError, zlib.error, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"cannot read {path}: {error}; give JSON lines, plain or .gz, or Parquet") from error

"""Keep every finished row on disk, in one file for each process that works.

A line is one finished row: how it ended, then the row of the output as it will be written. Each process begins a file
of its own, so that nobody mends another's. A file that ends in the middle of a line was cut by a kill; that line does
not count. Names begin with the number of the run.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from blender_core.errors import ConfigurationError
from blender_lab.mix.journal import changed_settings, lock_file, sync_folder

__all__ = [
    "UNREADABLE",
    "Finished",
    "JobFolder",
    "JournalFile",
    "JournalLine",
    "Totals",
    "journal_files",
    "parse_line",
    "read_journal",
    "tidy",
    "worker_lock",
]

_VERSION = 1
_ROW = b',"row":'
_WORKERS_END_S = 60.0

UNREADABLE = "unreadable"
"""Cause of a row that failed before anybody was asked."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Says how a row ended.

    Attributes:
        number: Number of the row.
        digest: Hash of its content.
        ok: Whether it has an output row; else it failed.
        by: The winner, ``""`` if none was chosen; of a failed row its cause in a few words.
        tokens: Tokens that its calls used, as far as they said.
        cost: Their cost, as far as it is known.
    """

    number: int
    digest: int
    ok: bool
    by: str = ""
    tokens: int = 0
    cost: float = 0.0

    @property
    def unreadable(self) -> bool:
        """Whether the row failed before anybody was asked."""
        return not self.ok and self.by == UNREADABLE

    def line(self, row: Mapping[str, Any]) -> bytes:
        """Make the line of a journal.

        Args:
            row: The row of the output, or of the file of failed rows.
        """
        head = {
            "n": self.number,
            "d": f"{self.digest:016x}",
            "ok": self.ok,
            "by": self.by,
            "tokens": self.tokens,
            "cost": self.cost,
        }
        return _json(head)[:-1] + _ROW + _json(row) + b"}\n"


@dataclass(slots=True)
class Totals:
    """Adds up finished rows.

    Attributes:
        rows: Rows that ended, failed ones among them.
        failed: Rows that failed.
        asked: Rows for which somebody was asked.
        tokens: Tokens of all of them.
        cost: Cost of all of them.
    """

    rows: int = 0
    failed: int = 0
    asked: int = 0
    tokens: int = 0
    cost: float = 0.0

    def add(self, finished: Finished) -> None:
        """Add a row."""
        self.rows += 1
        self.failed += not finished.ok
        self.asked += not finished.unreadable
        self.tokens += finished.tokens
        self.cost += finished.cost


@dataclass(frozen=True, slots=True)
class JournalLine:
    """Holds a line that was read.

    Attributes:
        finished: How the row ended.
        offset: Byte in the file at which the line begins.
        row: The row of the output, as JSON without a line break.
        size: Bytes of the line.
    """

    finished: Finished
    offset: int
    row: bytes
    size: int


def parse_line(line: bytes, offset: int = 0) -> JournalLine | None:
    """Read a line; ``None`` if it is damaged."""
    head, mark, row = line.partition(_ROW)
    if not mark or not row.endswith(b"}\n"):
        return None
    try:
        held = json.loads(head + b"}")
        finished = Finished(held["n"], int(held["d"], 16), held["ok"], held["by"], held["tokens"], held["cost"])
    except (ValueError, KeyError, TypeError):
        return None
    return JournalLine(finished, offset, row[:-2], len(line))


def read_journal(path: Path, offset: int = 0) -> Iterator[JournalLine | None]:
    """Read the whole lines of a journal.

    Args:
        path: The file.
        offset: Byte to begin at, which is the begin of a line.

    Yields:
        The lines; ``None`` for a damaged one. What is behind the last line break is left out.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield parse_line(line, offset)
            offset += len(line)


def journal_files(folder: Path, run: int | None = None) -> list[Path]:
    """List the journals of a folder, oldest run first.

    Args:
        folder: The job's folder.
        run: Only those of this run.
    """
    return sorted(folder.glob("[0-9]*-*.jsonl" if run is None else f"{run:06d}-*.jsonl"))


class JournalFile:
    """Appends finished rows to a new file. Several threads may use it.

    Args:
        folder: The job's folder.
        run: Number of the run.
    """

    def __init__(self, folder: Path, run: int) -> None:
        name = f"{run:06d}-{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self.path = folder / name
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync_folder(folder)

    def write(self, line: bytes) -> None:
        """Hand a line to the system; it survives a kill of this process, and after `sync` one of the machine."""
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        """Put all that was written on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class JobFolder:
    """Holds a job's journals; one job at a time may open it. A context manager.

    Args:
        out: The output file; the folder is ``OUT.journal`` next to it.
        settings: What all rows must have in common, as JSON types.

    Raises:
        ConfigurationError: Another job writes it, it was begun with other settings, or it is something else.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place, JobFolder(Path(place) / "out.jsonl", {}) as folder:
        ...     folder.run, folder.path.name
        (1, 'out.jsonl.journal')
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.path = out.with_name(f"{out.name}.journal").absolute()
        self._files: list[IO[bytes]] = []
        try:
            self.path.mkdir(exist_ok=True)
            self._lock("lock", "another job writes it")
            # workers of a command that has ended end by themselves
            self._lock("workers.lock", "workers of the last job are still ending", wait_s=_WORKERS_END_S)
            self._check(json.loads(json.dumps(dict(settings))))
        except OSError as error:
            self.close()
            raise ConfigurationError(f"cannot write {self.path}: {error}; give another --out") from error
        except BaseException:
            self.close()
            raise
        # the workers take it, shared
        self._files.pop().close()
        names = [one.name.partition("-")[0] for one in journal_files(self.path)]
        self.run = 1 + max((int(name) for name in names if name.isdecimal()), default=0)

    def _lock(self, name: str, why: str, wait_s: float = 0.0) -> None:
        path = self.path / name
        file = path.open("ab")
        self._files.append(file)
        until = time.monotonic() + wait_s
        while True:
            try:
                lock_file(file, path)
                return
            except ConfigurationError as error:
                if time.monotonic() >= until:
                    told = f"{self.path} is in use: {why}; wait for it, or give another --out"
                    raise ConfigurationError(told) from error
            time.sleep(0.1)

    def _check(self, settings: dict[str, Any]) -> None:
        path = self.path / "job.json"
        if not any(one.stat().st_size for one in journal_files(self.path)):
            # nothing has ended yet, so any settings may begin
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                file.write(_json({"journal": _VERSION, "settings": settings}))
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            sync_folder(self.path)
            return
        if not path.exists():
            raise ConfigurationError(f"{self.path} has lost its job.json; move it away or give another --out")
        try:
            held = json.loads(path.read_bytes())
            version, before = held["journal"], dict(held["settings"])
        except (ValueError, KeyError, TypeError):
            version, before = None, {}
        if version != _VERSION:
            raise ConfigurationError(f"{path} is not of this version; move the folder away or give another --out")
        if before != settings:
            raise changed_settings(self.path, before, settings)

    def close(self) -> None:
        """Let another job open it."""
        for file in self._files:
            file.close()
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def worker_lock(folder: Path) -> IO[bytes]:
    """Hold what a new job waits for, as long as a worker may write.

    Args:
        folder: The job's folder.

    Returns:
        The file to keep open.

    Raises:
        ConfigurationError: This machine does not see the folder, or a new job has begun.
    """
    if not (folder / "job.json").is_file():
        raise ConfigurationError(f"{socket.gethostname()} sees no {folder}; put --out on a file system of all machines")
    file = (folder / "workers.lock").open("ab")
    try:
        lock_file(file, folder, shared=True)
    except BaseException:
        file.close()
        raise
    return file


def tidy(folder: Path, names: Iterable[str]) -> None:
    """Remove files that can be made again."""
    for name in names:
        for path in folder.glob(name):
            with suppress(OSError):
                path.unlink()


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")

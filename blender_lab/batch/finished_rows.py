"""Know where on disk each row's outcome is, in a table that is on disk too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from blender_lab.batch.journal import Finished, JournalLine, Totals, journal_files, parse_line, read_journal

__all__ = ["FinishedRows"]

# 25 bytes a row; pages that are not in use leave the memory
_ENTRY = np.dtype([("digest", "<u8"), ("offset", "<u8"), ("size", "<u4"), ("file", "<u4"), ("state", "u1")])
_NONE, _OK, _FAILED = 0, 1, 2
_FIRST_ROWS = 1 << 12
_MOST_OPEN = 128


class FinishedRows:
    """Finds the outcome of each row in the journals of a job.

    Of two outcomes of one row the later run's counts; a failure never replaces an answer to the same content.

    Args:
        folder: The job's folder.

    Attributes:
        spent: All outcomes, those that were replaced among them.
        damaged: Lines that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Path] = []
        self._read: dict[Path, int] = {}
        self._path = folder / "table"
        self._path.unlink(missing_ok=True)
        self._table = self._grown(_FIRST_ROWS)
        self.spent = Totals()
        self.damaged = 0
        self.update()

    def update(self) -> None:
        """Read what was added to the journals."""
        for path in journal_files(self._folder):
            if path not in self._read:
                self._files.append(path)
            place, offset = self._files.index(path), self._read.get(path, 0)
            for line in read_journal(path, offset):
                if line is None:
                    self.damaged += 1
                    continue
                self._take(line, place)
                offset = line.offset + line.size
            self._read[path] = offset

    def state(self, number: int, digest: int) -> bool | None:
        """Tell how a row ended.

        Args:
            number: Its number.
            digest: Hash of its content.

        Returns:
            Whether it is done; ``False`` if it failed; ``None`` if neither, or its content was another.
        """
        if number >= len(self._table):
            return None
        entry = self._table[number]
        if entry["state"] == _NONE or int(entry["digest"]) != digest:
            return None
        return bool(entry["state"] == _OK)

    def answered_other(self, number: int, digest: int) -> bool:
        """Tell whether this row was answered when its content was another."""
        if number >= len(self._table):
            return False
        entry = self._table[number]
        return bool(entry["state"] == _OK and int(entry["digest"]) != digest)

    def ended_in(self, run: int, last: int) -> int:
        """Count the rows whose outcome is of one run.

        Args:
            run: Number of the run.
            last: Number of the last row that counts.
        """
        files = [place for place, path in enumerate(self._files) if path.name.startswith(f"{run:06d}-")]
        count = 0
        for begin in range(0, min(last + 1, len(self._table)), _FIRST_ROWS):
            part = self._table[begin : min(begin + _FIRST_ROWS, last + 1)]
            count += int(np.count_nonzero(np.isin(part["file"], files) & (part["state"] != _NONE)))
        return count

    def lines(self, last: int) -> Iterator[tuple[Finished, bytes]]:
        """Read the outcomes in the order of the rows.

        Args:
            last: Number of the last row.

        Yields:
            How the row ended, and its output as JSON.
        """
        # the one that was used longest ago comes first
        opened: dict[int, IO[bytes]] = {}
        try:
            for begin in range(0, min(last + 1, len(self._table)), _FIRST_ROWS):
                part = self._table[begin : min(begin + _FIRST_ROWS, last + 1)]
                for place in np.flatnonzero(part["state"]):
                    entry = part[place]
                    file = self._opened(int(entry["file"]), opened)
                    if file.tell() != int(entry["offset"]):
                        file.seek(int(entry["offset"]))
                    line = parse_line(file.read(int(entry["size"])))
                    assert line is not None, "it was read before"
                    yield line.finished, line.row
        finally:
            for file in opened.values():
                file.close()

    def _opened(self, place: int, opened: dict[int, IO[bytes]]) -> IO[bytes]:
        file = opened.pop(place, None)
        if file is None:
            if len(opened) >= _MOST_OPEN:
                opened.pop(next(iter(opened))).close()
            file = self._files[place].open("rb")
        opened[place] = file
        return file

    def close(self) -> None:
        """Remove the table; the journals stay."""
        del self._table
        self._path.unlink(missing_ok=True)

    def _take(self, line: JournalLine, file: int) -> None:
        finished = line.finished
        self.spent.add(finished)
        if finished.number >= len(self._table):
            self._table = self._grown(max(2 * len(self._table), finished.number + 1))
        if not finished.ok and self.state(finished.number, finished.digest):
            return
        self._table[finished.number] = (
            finished.digest,
            line.offset,
            line.size,
            file,
            _OK if finished.ok else _FAILED,
        )

    def _grown(self, rows: int) -> np.memmap[tuple[int], np.dtype[np.void]]:
        with self._path.open("ab") as file:
            # on a full disk this fails; a file with holes would end the process when one is written
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, rows * _ENTRY.itemsize)
            file.truncate(rows * _ENTRY.itemsize)
        return np.memmap(self._path, dtype=_ENTRY, mode="r+", shape=(rows,))

"""Read the input once before work begins: what is to be done, and in which stretches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from blender_core.errors import ConfigurationError
from blender_lab.batch.finished_rows import FinishedRows
from blender_lab.batch.rows import RawRow, RowFiles, Stretch

__all__ = ["Plan", "make_plan"]

_MOST_MARKS = 1 << 16


@dataclass(frozen=True, slots=True)
class Plan:
    """Says what is to be done.

    Attributes:
        rows: Rows of the input.
        last: Number of the last one.
        due: Rows to work on.
        done: A bit for each row number, packed; set if there is nothing to do.
    """

    rows: int
    last: int
    due: int
    done: bytes
    _marks: tuple[tuple[Stretch, int], ...] = ()

    def is_due(self, number: int) -> bool:
        """Tell whether there is something to do for a row."""
        return number <= self.last and not self.done[number >> 3] >> (number & 7) & 1

    def stretches(self, size: int) -> Iterator[Stretch]:
        """Divide what is to be done.

        Args:
            size: Rows that are due in each stretch, about.

        Yields:
            The stretches, in order.
        """
        held: tuple[Stretch, int] | None = None
        for mark in self._marks:
            if held is None or held[0].file != mark[0].file or held[1] >= size or not mark[1]:
                if held is not None and held[1]:
                    yield held[0]
                held = mark
            else:
                held = _joined(held, mark)
        if held is not None and held[1]:
            yield held[0]


def make_plan(files: RowFiles, finished: FinishedRows, *, retry_failed: bool = False, limit: int | None = None) -> Plan:
    """Read the input, and compare it with what is finished.

    Args:
        files: The input.
        finished: What is finished.
        retry_failed: Rows that failed are due again.
        limit: Only the first rows; ``None`` is all.

    Returns:
        The plan.

    Raises:
        ConfigurationError: The input cannot be read, has no rows, or rows were changed after they were answered.
    """
    done = bytearray()
    marks: list[tuple[Stretch, int]] = []
    size = 8
    rows = due = last = changed = 0
    first_changed: RawRow | None = None
    for row in files.rows():
        if rows == limit:
            break
        rows, last = rows + 1, row.number
        digest = row.digest
        if finished.answered_other(row.number, digest):
            changed += 1
            first_changed = first_changed or row
        state = finished.state(row.number, digest)
        is_due = state is None or (retry_failed and not state)
        due += is_due
        if len(done) <= row.number >> 3:
            done.extend(bytes((row.number >> 3) + 1 - len(done)))
        if not is_due:
            done[row.number >> 3] |= 1 << (row.number & 7)
        if marks and marks[-1][0].file == row.file and row.number - marks[-1][0].number < size:
            stretch, held = marks[-1]
            marks[-1] = replace(stretch, count=row.number - stretch.number + 1), held + is_due
        else:
            if len(marks) >= _MOST_MARKS:
                marks, size = _halved(marks), size * 2
            marks.append((Stretch(row.file, row.start, row.line, row.number, 1), int(is_due)))
    if not rows:
        raise ConfigurationError(f"{files.files[0]} holds no row; write one JSON object with an instruction a line")
    if first_changed is not None:
        raise ConfigurationError(
            f"{changed} rows were changed after they were answered, the first is {first_changed.where}; rows may be "
            "added at the end, and failed ones mended: restore the others, or give another --out"
        )
    return Plan(rows, last, due, bytes(done), tuple(marks))


def _joined(first: tuple[Stretch, int], second: tuple[Stretch, int]) -> tuple[Stretch, int]:
    count = second[0].number + second[0].count - first[0].number
    return replace(first[0], count=count), first[1] + second[1]


def _halved(marks: list[tuple[Stretch, int]]) -> list[tuple[Stretch, int]]:
    halved: list[tuple[Stretch, int]] = []
    alone = False
    for mark in marks:
        alone = not alone or halved[-1][0].file != mark[0].file
        if alone:
            halved.append(mark)
        else:
            halved[-1] = _joined(halved[-1], mark)
    return halved

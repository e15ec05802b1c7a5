"""Count what all workers of a job have finished and spent, and say when to stop.

The journals are the truth. The ledger only saves reading them: it is told which lines are on the disk, and reads the
ends of journals whose worker died before it could tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from blender_core.errors import ConfigurationError
from blender_lab.batch.journal import Finished, Totals, journal_files, read_journal

__all__ = ["JobLimits", "JobState", "Ledger"]

Go = Literal["go", "wait", "stop"]


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Limits a whole job, over all its runs and workers.

    Attributes:
        max_cost: Most cost, in the currency of the prices; ``None`` is no limit.
        max_tokens: Most tokens read and written; ``None`` is no limit.
        give_up_after: Rows that fail one after the other before the job stops.
    """

    max_cost: float | None = None
    max_tokens: int | None = None
    give_up_after: int = 50

    def __post_init__(self) -> None:
        for name, value in (("--max-cost", self.max_cost), ("--max-tokens-total", self.max_tokens)):
            # nan, too
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} is {value}; it must be above 0")
        if self.give_up_after < 1:
            raise ConfigurationError(f"--give-up-after is {self.give_up_after}; it must be at least 1")

    @property
    def any(self) -> bool:
        """Whether spending is limited."""
        return self.max_cost is not None or self.max_tokens is not None


@dataclass(frozen=True, slots=True)
class JobState:
    """Says how far a run is.

    Attributes:
        run: What this run finished.
        spent: What all runs of the job spent.
        stopping: Why no further row begins; ``""`` if rows do.
        in_flight: Rows that are being worked on, as far as the workers said.
        deaths: Workers that died since the last row ended.
    """

    run: Totals
    spent: Totals
    stopping: str = ""
    in_flight: int = 0
    deaths: int = 0


@dataclass(slots=True)
class _Seat:
    """A worker; one that died is followed by another on its seat."""

    journal: str = ""
    in_flight: int = 0
    stopped: bool = False


@dataclass
class Ledger:
    """Keeps the counts of one run; the workers ask and tell it. Belongs to one thread.

    Args:
        folder: The job's folder.
        run: Number of the run.
        done: A bit for each row number, packed; set if there is nothing to do.
        spent: What earlier runs finished and spent.
        limits: The job's limits.
    """

    folder: Path
    run: int
    done: bytes
    spent: Totals
    limits: JobLimits
    _here: Totals = field(default_factory=Totals)
    _read: dict[str, int] = field(default_factory=dict)
    _seats: dict[str, _Seat] = field(default_factory=dict)
    _stopping: str = ""
    _failures: int = 0
    _deaths: int = 0

    def __post_init__(self) -> None:
        self._bits = np.frombuffer(self.done, dtype=np.uint8).copy()
        self.done = b""
        self.spent = replace(self.spent)
        # a ledger that died is made anew in the middle of the run
        for path in journal_files(self.folder, self.run):
            self._catch_up(path.name)

    def hello(self, seat: str, journal: str) -> None:
        """Take note of a new worker; read to its end what the one before it on this seat left.

        Args:
            seat: Stays the same if a worker dies and another takes its place.
            journal: Name of the file that it writes.
        """
        before = self._seats.get(seat)
        if before is not None:
            self._catch_up(before.journal)
            self._deaths += 1
        self._seats[seat] = _Seat(journal, stopped=True)

    def open_stretch(self, seat: str, first: int, count: int) -> tuple[bytes, str]:
        """Tell a worker which of the next rows need no work.

        Args:
            seat: The worker.
            first: Number of the first row.
            count: How many.

        Returns:
            A byte for each; 1 for those without work. And why to stop, ``""`` to go on.
        """
        self._seats.setdefault(seat, _Seat()).stopped = False
        numbers = np.arange(first, first + count)
        bits = self._bits[numbers >> 3] >> (numbers & 7) & 1
        return bits.astype(np.uint8).tobytes(), self._stopping

    def begin(self, seat: str) -> Go:
        """Ask whether one more row may begin; the spending is kept for it.

        The first row of a job goes alone: its cost tells what the others will need.
        """
        if self._stopping:
            return "stop"
        in_flight = sum(one.in_flight for one in self._seats.values())
        why = self._too_dear(in_flight)
        if why is not None and in_flight:
            return "wait"
        if why is not None:
            self.stop(why)
            return "stop"
        self._seats.setdefault(seat, _Seat()).in_flight += 1
        return "go"

    def finished(self, seat: str, journal: str, end: int, rows: Sequence[Finished]) -> None:
        """Take note of rows whose lines are on the disk.

        Args:
            seat: The worker.
            journal: Its file.
            end: Where these lines end in it, in bytes.
            rows: The rows.
        """
        self._read[journal] = max(end, self._read.get(journal, 0))
        for row in rows:
            self._take(row)
        known = self._seats.setdefault(seat, _Seat(journal))
        if self.limits.any:
            known.in_flight = max(0, known.in_flight - len(rows))

    def beat(self, seat: str, in_flight: int, stopped: bool) -> str:
        """Tell how a worker is.

        Args:
            seat: The worker.
            in_flight: Rows that it works on.
            stopped: Whether it has stopped and has nothing left to write.

        Returns:
            Why to stop; ``""`` to go on.
        """
        known = self._seats.setdefault(seat, _Seat())
        known.stopped = stopped
        if not self.limits.any:
            known.in_flight = in_flight
        return self._stopping

    def stop(self, reason: str) -> None:
        """Let no further row begin."""
        self._stopping = self._stopping or reason

    def state(self) -> JobState:
        """Tell how far the run is."""
        in_flight = sum(one.in_flight for one in self._seats.values() if not one.stopped)
        return JobState(self._here, self.spent, self._stopping, in_flight, self._deaths)

    def all_stopped(self) -> bool:
        """Tell whether every worker has stopped and written what it had."""
        return all(one.stopped for one in self._seats.values())

    def _too_dear(self, in_flight: int) -> str | None:
        """Say why one more row does not fit; ``None`` if it does."""
        for limit, spent, what in (
            (self.limits.max_cost, self.spent.cost, "cost"),
            (self.limits.max_tokens, float(self.spent.tokens), "tokens"),
        ):
            if limit is None:
                continue
            if not self.spent.asked and in_flight:
                return "the first row tells what one costs"
            mean = spent / max(1, self.spent.asked)
            if spent >= limit or spent + (in_flight + 1) * mean > limit:
                return f"budget: {spent:.6g} of {limit:.6g} {what} is spent, and a row takes about {mean:.3g}"
        return None

    def _catch_up(self, journal: str) -> None:
        path = self.folder / journal
        offset = self._read.get(journal, 0)
        if not journal or not path.exists():
            return
        for line in read_journal(path, offset):
            if line is not None:
                self._take(line.finished)
                offset = line.offset + line.size
        self._read[journal] = offset

    def _take(self, row: Finished) -> None:
        place, bit = row.number >> 3, 1 << (row.number & 7)
        if self._bits[place] & bit:
            # it was told twice, or two workers had it
            return
        self._bits[place] |= bit
        self._here.add(row)
        self.spent.add(row)
        self._deaths = 0
        if row.ok or not row.unreadable:
            self._failures = 0 if row.ok else self._failures + 1
        if self._failures >= self.limits.give_up_after:
            self.stop(f"{self._failures} rows failed one after the other, the last because: {row.by}")

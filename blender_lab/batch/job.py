"""Run a job: plan it, work on its rows here or on Ray, and write the output."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from blender_core.errors import BlendError, ConfigurationError
from blender_lab.batch.answering import Work
from blender_lab.batch.finished_rows import FinishedRows
from blender_lab.batch.journal import JobFolder, JournalFile, Totals, tidy, worker_lock
from blender_lab.batch.ledger import JobLimits, JobState, Ledger
from blender_lab.batch.loop import LedgerHere, RowLoop
from blender_lab.batch.output import Written, check_output, write_output
from blender_lab.batch.plan import Plan, make_plan
from blender_lab.batch.rows import RawRow, RowFiles

__all__ = ["INTERRUPTED", "BatchJob", "Ended", "Interruption", "Run"]

GRACE_S = 10.0
"""Seconds that rows in flight get when a job is stopped."""

INTERRUPTED = "interrupted"
_TICK_S = 0.25


@dataclass(frozen=True)
class BatchJob:
    """Describes a job.

    Attributes:
        source: The input: a file or a folder.
        out: The output; the journals are in ``OUT.journal`` next to it.
        work: What is done with each row.
        limits: Limits of the whole job.
        concurrency: Rows on the way at the same time, over all workers.
        retry_failed: Work again on rows that failed.
        limit: Only the first rows; ``None`` is all.
        local: Work in this process, without Ray.
        workers: Ray's actors; ``None`` takes what the cluster has.
        address: A running Ray cluster; ``None`` starts one here.
        gpus_per_worker: GPUs of each actor.
    """

    source: Path
    out: Path
    work: Work
    limits: JobLimits = field(default_factory=JobLimits)
    concurrency: int = 8
    retry_failed: bool = False
    limit: int | None = None
    local: bool = False
    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("concurrency", self.concurrency), ("workers", self.workers), ("limit", self.limit)):
            if value is not None and value < 1:
                raise ConfigurationError(f"--{name} is {value}; it must be at least 1")
        if not 0 <= self.gpus_per_worker < float("inf"):
            raise ConfigurationError(f"--gpus-per-worker is {self.gpus_per_worker}; it must be at least 0")

    def run(self, watch: Callable[[Plan, JobState], None]) -> Ended:
        """Run it.

        Args:
            watch: Told a few times a second how far it is.

        Returns:
            How it ended.

        Raises:
            BlendError: Something cannot work, as another job that writes the same output.
        """
        out = self.out.expanduser().absolute()
        check_output(self.source.expanduser(), out)
        if self.work.mode == "rank" and self.limits.any:
            raise ConfigurationError("--max-cost and --max-tokens-total limit calls of members; --rank-only makes none")
        if self.limits.max_cost is not None:
            self.work.check_prices()
        schedule: Callable[[Run], None] = run_here
        if not self.local:
            from blender_lab.batch.on_ray import check_ray, run_on_ray

            check_ray()
            schedule = run_on_ray
        self.work.check(1 if self.local else self.workers or 1)
        with JobFolder(out, self.work.settings) as folder, Interruption() as interruption:
            try:
                return self._run_in(folder, out, schedule, interruption, watch)
            except OSError as error:
                raise BlendError(
                    f"the job stopped: {error}; what was answered is in {folder.path}; if the disk is full make room, "
                    "and the same command goes on"
                ) from error

    def _run_in(
        self,
        folder: JobFolder,
        out: Path,
        schedule: Callable[[Run], None],
        interruption: Interruption,
        watch: Callable[[Plan, JobState], None],
    ) -> Ended:
        files = RowFiles(self.source, folder.path)
        finished = FinishedRows(folder.path)
        try:
            plan = make_plan(files, finished, retry_failed=self.retry_failed, limit=self.limit)
            run = Run(self, folder.path, folder.run, files, plan, finished.spent, interruption, watch)
            if plan.due and not interruption.asked:
                schedule(run)
            finished.update()
            return run.ended(finished, out)
        finally:
            finished.close()
            tidy(folder.path, ("input-*.jsonl", "input-*.partial"))


@dataclass(slots=True)
class Ended:
    """Says how a job ended.

    Attributes:
        rows: Rows of the input.
        here: What this run finished.
        spent: What all runs of the job spent.
        undone: Rows that did not begin, or did not end.
        stopped: Why it ended before all rows; ``""`` if it did not.
        written: What is in the output; ``None`` if it was not written.
        seconds: Wall-clock time of this run.
        damaged: Lines of journals that could not be read.
    """

    rows: int
    here: Totals
    spent: Totals
    undone: int
    stopped: str
    written: Written | None
    seconds: float
    damaged: int

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it."""
        return self.stopped == INTERRUPTED

    def to_dict(self) -> dict[str, Any]:
        """Turn it into JSON types."""
        written = self.written
        return {
            "rows": self.rows,
            "done": None if written is None else written.rows,
            "failed": None if written is None else written.failed,
            "undone": self.undone,
            "stopped": self.stopped or None,
            "wins": {} if written is None else dict(written.wins.most_common()),
            "causes": {} if written is None else dict(written.causes.most_common()),
            "this_run": {"rows": self.here.rows, "failed": self.here.failed, "seconds": round(self.seconds, 3)},
            "tokens": self.spent.tokens,
            "cost": self.spent.cost,
            "damaged_lines": self.damaged,
        }


@dataclass
class Run:
    """Holds one run of a job while it works.

    Attributes:
        job: The job.
        folder: Its folder.
        number: Number of the run.
        files: The input.
        plan: What is to be done.
        spent: What earlier runs spent.
        interruption: Whether the user wants to stop.
        watch: Told how far it is.
        state: The newest state.
    """

    job: BatchJob
    folder: Path
    number: int
    files: RowFiles
    plan: Plan
    spent: Totals
    interruption: Interruption
    watch: Callable[[Plan, JobState], None]
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.state = JobState(Totals(), self.spent)

    def take(self, state: JobState) -> None:
        """Take note of a new state, and show it."""
        self.state = state
        self.watch(self.plan, state)

    def ended(self, finished: FinishedRows, out: Path) -> Ended:
        """Write the output, unless the run was interrupted, and say how it ended."""
        undone = self.plan.due - finished.ended_in(self.number, self.plan.last)
        stopped = (INTERRUPTED if self.interruption.asked and undone else "") or self.state.stopping
        if undone and not stopped:
            stopped = "rows were left"
        written = None
        if not (undone and self.interruption.asked):
            written = write_output(finished, self.plan.last, out, self.job.work.mode)
        return Ended(
            self.plan.rows,
            self.state.run,
            finished.spent,
            undone,
            stopped if undone else "",
            written,
            time.monotonic() - self.began,
            finished.damaged,
        )


class Interruption:
    """Takes SIGINT and SIGTERM while it is entered: the first asks to stop, the second stops at once.

    Attributes:
        asked: Whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._event = threading.Event()
        self._before: dict[int, Any] = {}

    def take_over(self) -> None:
        """Install the handlers, again if somebody replaced them."""
        # only the main thread may
        with suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._take)
                self._before.setdefault(number, before)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait, at most until a signal comes; tell whether one came."""
        return self._event.wait(seconds)

    def __enter__(self) -> Interruption:
        self.take_over()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(ValueError):
            for number, before in self._before.items():
                signal.signal(number, before)


def run_here(run: Run) -> None:
    """Work on the rows in this process.

    Args:
        run: The run.
    """
    asyncio.run(_here(run))


async def _here(run: Run) -> None:
    job = run.job
    ledger = Ledger(run.folder, run.number, run.plan.done, run.spent, job.limits)
    answering = job.work.open(1)
    with worker_lock(run.folder):
        loop = RowLoop(answering, JournalFile(run.folder, run.number), LedgerHere(ledger), job.concurrency)
        task = asyncio.create_task(loop.run(_rows_due(run)))
        stops_at: float | None = None
        while not task.done():
            await asyncio.wait([task], timeout=_TICK_S)
            if run.interruption.asked:
                ledger.stop(INTERRUPTED)
            ledger.beat("", loop.in_flight, False)
            state = ledger.state()
            loop.stopping = loop.stopping or bool(state.stopping)
            run.take(state)
            if loop.stopping:
                stops_at = stops_at or time.monotonic() + GRACE_S
                if time.monotonic() > stops_at:
                    task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await loop.close()
        run.take(ledger.state())


def _rows_due(run: Run) -> Iterator[RawRow]:
    for row in run.files.rows():
        if row.number > run.plan.last:
            return
        if run.plan.is_due(row.number):
            yield row

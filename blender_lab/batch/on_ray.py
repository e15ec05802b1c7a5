"""Work on a job's rows on Ray Data: Ray schedules, the journals keep what is finished."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blender_core.errors import BlendError, ConfigurationError
from blender_core.runtime.extras import require, require_installed
from blender_lab.batch.answering import Work
from blender_lab.batch.job import GRACE_S, INTERRUPTED, Run
from blender_lab.batch.journal import Finished, JournalFile, worker_lock
from blender_lab.batch.ledger import Go, JobState, Ledger
from blender_lab.batch.loop import RowLoop
from blender_lab.batch.rows import RowFiles, Stretch

__all__ = ["check_ray", "run_on_ray"]

_FEATURE = "batch without --local"
_OBJECT_STORE = 200 * 2**20
_BEAT_S = 0.5
_MOST_ROWS = 1000
# a stretch's rows are in memory together
_LEAST_ROWS = 4
# a busy machine takes minutes to start the ledger
_ANSWER_S = 300.0
_DEATHS = 5
_STARTS = 3
_COLUMNS = ("file", "start", "line", "number", "count")


def check_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        MissingExtraError: Ray Data is not installed.
    """
    for module in ("ray", "pyarrow"):
        require_installed(module, feature=_FEATURE, extra="ray")


def run_on_ray(run: Run) -> None:
    """Work on the rows in Ray's actors.

    Args:
        run: The run.

    Raises:
        BlendError: A worker cannot begin, or workers die again and again.
    """
    job, plan = run.job, run.plan
    with _ray(job.address, job.workers) as ray:
        # Ray has a handler of its own
        run.interruption.take_over()
        workers = job.workers or _fitting(ray, job.gpus_per_worker, ranks=job.work.mode == "rank")
        workers = min(workers, plan.due)
        job.work.check(workers)
        if any(path.suffix == ".gz" for path in run.files.files):
            run.files.unpack()
        size = min(_MOST_ROWS, max(_LEAST_ROWS, math.ceil(plan.due / (32 * workers))))
        items = [{name: getattr(one, name) for name in _COLUMNS} for one in plan.stretches(size)]
        ledger = (
            ray.remote(Ledger)
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
            .remote(run.folder, run.number, plan.done, run.spent, job.limits)
        )
        desk = _Desk(run.folder, run.number, job.source.absolute(), job.work, workers, job.concurrency, job.limits.any)
        blocks = min(len(items), max(16 * workers, len(items) // 32))
        rows = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
            _Worker,
            fn_constructor_args=(desk, ledger),
            batch_size=1,
            batch_format="numpy",
            # two calls at a time, so that the last rows of one stretch do not hold up the next
            compute=ray.data.ActorPoolStrategy(size=workers, max_concurrent_calls_per_actor=2),
            num_cpus=1,
            num_gpus=job.gpus_per_worker or None,
        )
        try:
            _watch(run, ray, ledger, _Consuming(rows), workers)
        except ray.exceptions.RayError as error:
            raise _cause(error) from error


@contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # a thread that is left must not start a second Ray
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray: Any = require("ray", feature=_FEATURE, extra="ray")
        require("ray.data", feature=_FEATURE, extra="ray")
        given: dict[str, Any] = {"address": address}
        if address is None:
            cpus = max(os.cpu_count() or 1, workers or 1)
            given = {"address": "local", "num_cpus": cpus, "object_store_memory": _OBJECT_STORE}
            given["include_dashboard"] = False
        _start(ray, given)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            yield ray
        finally:
            ray.shutdown()


def _start(ray: Any, given: dict[str, Any]) -> None:
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **given)
            return
        # Ray raises a bare Exception if a busy machine starts it too slowly
        except Exception as error:
            ray.shutdown()
            if attempt == _STARTS or "timed out" not in str(error):
                address = given["address"]
                told = "start Ray" if address == "local" else f"reach Ray at {address}"
                remedy = "try again" if address == "local" else "check --address"
                raise ConfigurationError(f"cannot {told}: {error}; {remedy}, or give --local") from error


def _fitting(ray: Any, gpus_per_worker: float, *, ranks: bool) -> int:
    held = ray.cluster_resources()
    if gpus_per_worker:
        return max(1, int(held.get("GPU", 0) / gpus_per_worker))
    # asking members waits, ranking computes
    return max(1, int(held.get("CPU", 1))) if ranks else 1


class _Consuming:
    """Runs the dataset in a thread, and keeps how it ended."""

    def __init__(self, rows: Any) -> None:
        self.error: Exception | None = None
        self._rows = rows
        self.thread = threading.Thread(target=self._run, daemon=True, name="blended-llm-ray")
        self.thread.start()

    def _run(self) -> None:
        try:
            for _ in self._rows.iter_batches(batch_size=None, prefetch_batches=0):
                pass
        except Exception as error:
            self.error = error


def _watch(run: Run, ray: Any, ledger: Any, consuming: _Consuming, workers: int) -> None:
    """Show the state until all is done; if it has to stop, wait for the rows in flight."""
    stops_at: float | None = None
    while consuming.thread.is_alive():
        if run.interruption.asked:
            ray.get(ledger.stop.remote(INTERRUPTED), timeout=_ANSWER_S)
            consuming.thread.join(_BEAT_S)
        else:
            run.interruption.wait(_BEAT_S)
        state: JobState = ray.get(ledger.state.remote(), timeout=_ANSWER_S)
        run.take(state)
        if state.deaths > _DEATHS * workers:
            raise BlendError(f"{state.deaths} workers died, and no row ended between; see Ray's log, or try --local")
        if state.stopping:
            stops_at = stops_at or time.monotonic() + GRACE_S
            if time.monotonic() > stops_at or ray.get(ledger.all_stopped.remote(), timeout=_ANSWER_S):
                break
    run.take(ray.get(ledger.state.remote(), timeout=_ANSWER_S))
    if consuming.error is not None and not run.state.stopping:
        raise _cause(consuming.error)


def _cause(error: Exception) -> Exception:
    """Find what a worker raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BlendError):
            return cause
        found = getattr(cause, "cause", None)
        cause = found if isinstance(found, BaseException) else cause.__cause__
    lines = str(error).strip().splitlines()
    said = lines[-1] if lines else type(error).__name__
    return BlendError(f"Ray gave up: {said}; nothing is lost, and the same command goes on")


class _Desk:
    """What a worker needs to begin; it pickles."""

    def __init__(
        self, folder: Path, run: int, source: Path, work: Work, workers: int, concurrency: int, limited: bool
    ) -> None:
        self.folder = folder
        self.run = run
        self.source = source
        self.work = work
        self.workers = workers
        # rows on the way are those of all workers
        self.concurrency = max(1, concurrency // workers)
        self.limited = limited


class _LedgerThere:
    """Asks and tells the ledger, which is an actor of its own."""

    def __init__(self, ledger: Any, seat: str, limited: bool) -> None:
        self._ledger = ledger
        self._seat = seat
        self.limited = limited

    async def begin(self) -> Go:
        return await self._ledger.begin.remote(self._seat)  # type: ignore[no-any-return]

    async def finished(self, journal: str, end: int, rows: list[Finished]) -> None:
        await self._ledger.finished.remote(self._seat, journal, end, rows)


class _Worker:
    """Works on stretches; an actor of Ray Data makes one."""

    def __init__(self, desk: _Desk, ledger: Any) -> None:
        ray: Any = require("ray", feature=_FEATURE, extra="ray")
        self._desk = desk
        self._ledger = ledger
        self._seat = str(ray.get_runtime_context().get_actor_id())
        self._lock = worker_lock(desk.folder)
        self._files = RowFiles(desk.source, desk.folder)
        self._answering = desk.work.open(desk.workers)
        self._journal = JournalFile(desk.folder, desk.run)
        ray.get(ledger.hello.remote(self._seat, self._journal.path.name))
        self._loop: RowLoop | None = None
        self._beating: asyncio.Task[None] | None = None

    async def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        loop = self._loop
        if loop is None:
            books = _LedgerThere(self._ledger, self._seat, self._desk.limited)
            loop = self._loop = RowLoop(self._answering, self._journal, books, self._desk.concurrency)
            self._beating = asyncio.create_task(self._beat(loop))
        for place in range(len(batch["number"])):
            stretch = Stretch(**{name: int(batch[name][place]) for name in _COLUMNS})
            # a worker that died may have been here before
            done, stopping = await self._ledger.open_stretch.remote(self._seat, stretch.number, stretch.count)
            loop.stopping = loop.stopping or bool(stopping)
            if loop.stopping:
                break
            rows = [row for row in self._files.stretch(stretch) if not done[row.number - stretch.number]]
            await loop.run(rows)
        return {"number": batch["number"]}

    async def _beat(self, loop: RowLoop) -> None:
        while True:
            idle = loop.stopping and not loop.in_flight
            if idle:
                await loop.on_disk()
            loop.stopping = bool(await self._ledger.beat.remote(self._seat, loop.in_flight, idle)) or loop.stopping
            await asyncio.sleep(_BEAT_S)

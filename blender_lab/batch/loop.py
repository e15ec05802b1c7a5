"""Work on rows at the same time in one process, and write each to the journal as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from blender_lab.batch.answering import Answering, Outcome
from blender_lab.batch.journal import Finished, JournalFile
from blender_lab.batch.ledger import Go, Ledger
from blender_lab.batch.rows import RawRow

__all__ = ["Bookkeeper", "LedgerHere", "RowLoop"]

_BETWEEN_SYNCS_S = 0.1
_WAIT_S = 0.05
# one call of the ranker gets so many rows that it takes about this long
_CALL_S = 0.2


class Bookkeeper(Protocol):
    """Asks and tells the ledger, wherever that is."""

    limited: bool
    """Whether each row has to ask before it begins."""

    async def begin(self) -> Go:
        """Ask whether a row may begin."""

    async def finished(self, journal: str, end: int, rows: list[Finished]) -> None:
        """Tell which rows are on the disk."""


class LedgerHere:
    """Keeps the ledger of a job that runs in this process alone.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.limited = ledger.limits.any

    async def begin(self) -> Go:
        """Ask whether a row may begin."""
        return self._ledger.begin("")

    async def finished(self, journal: str, end: int, rows: list[Finished]) -> None:
        """Tell which rows are on the disk."""
        self._ledger.finished("", journal, end, rows)


class RowLoop:
    """Works on rows; made in the event loop that runs it.

    A row counts as done when its line is on the disk. Lines are handed to the system at once, and put on the disk
    together, at most ten times a second.

    Args:
        answering: Answers rows.
        journal: Takes their lines.
        books: The ledger.
        concurrency: Rows on the way at the same time; to rank, calls of the ranker.
    """

    def __init__(self, answering: Answering, journal: JournalFile, books: Bookkeeper, concurrency: int) -> None:
        self._answering = answering
        self._journal = journal
        self._books = books
        self._slots = asyncio.Semaphore(concurrency)
        self._concurrency = concurrency
        self._at_once = 1
        self._written = 0
        self._unsynced: list[Finished] = []
        self._news = asyncio.Event()
        self._committed = asyncio.Condition()
        self._told = 0
        self._added = 0
        self._closing = False
        self._committing = asyncio.create_task(self._commit())
        self.stopping = False
        self.in_flight = 0

    async def run(self, rows: Iterable[RawRow]) -> None:
        """Work on rows until all are on the disk, or ``stopping`` is set.

        Args:
            rows: The rows; they are read as they are needed.
        """
        left = iter(rows)
        tasks = [asyncio.create_task(self._work(left)) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self.on_disk()

    async def on_disk(self) -> None:
        """Wait until everything that was written so far is on the disk, and the ledger knows it."""
        wanted = self._added
        async with self._committed:
            await self._committed.wait_for(lambda: self._told >= wanted or self._committing.done())
        if self._committing.done():
            # it ends early only by a failure
            self._committing.result()

    async def close(self) -> None:
        """Write what is left, and end."""
        self._closing = True
        self._news.set()
        await self._committing
        self._journal.close()

    async def _work(self, left: Iterator[RawRow]) -> None:
        while not self.stopping:
            async with self._slots:
                if self.stopping:
                    return
                rows = list(islice(left, self._at_once))
                if not rows or not await self._may_begin():
                    return
                self.in_flight += len(rows)
                try:
                    await self._answer(rows)
                finally:
                    self.in_flight -= len(rows)

    async def _may_begin(self) -> bool:
        while self._books.limited:
            said = await self._books.begin()
            if said == "go":
                return True
            if said == "stop" or self.stopping:
                self.stopping = True
                return False
            await asyncio.sleep(_WAIT_S)
        return not self.stopping

    async def _answer(self, rows: list[RawRow]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        outcomes: list[Outcome] = await self._answering.answer(rows)
        took = clock() - began
        if len(rows) == self._at_once:
            faster = took < _CALL_S / 2
            self._at_once = min(self._at_once * 2, self._answering.at_once) if faster else self._at_once
            self._at_once = max(1, self._at_once // 2) if took > 2 * _CALL_S else self._at_once
        lines = b"".join(line for _, line in outcomes)
        self._journal.write(lines)
        self._written += len(lines)
        self._added += len(outcomes)
        self._unsynced.extend(finished for finished, _ in outcomes)
        self._news.set()

    async def _commit(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                rows, self._unsynced = self._unsynced, []
                end = self._written
                if rows:
                    await asyncio.to_thread(self._journal.sync)
                    await self._books.finished(self._journal.path.name, end, rows)
                    self._told += len(rows)
                    async with self._committed:
                        self._committed.notify_all()
                elif self._closing:
                    return
                if self._closing or self._books.limited:
                    # the budget waits for what it is told
                    self._news.set() if self._unsynced or self._closing else None
                    continue
                await asyncio.sleep(_BETWEEN_SYNCS_S)
        finally:
            async with self._committed:
                self._committed.notify_all()

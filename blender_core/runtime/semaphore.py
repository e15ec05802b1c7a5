"""Limit concurrent calls over several threads and event loops."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from dataclasses import dataclass

from blender_core.runtime.numbers import check_number

__all__ = ["SemaphoresByLimit", "SharedSemaphore", "Slot"]


class Slot:
    """Holds one place of a ``SharedSemaphore`` until it is freed, from any thread."""

    def __init__(self, semaphore: SharedSemaphore) -> None:
        self._semaphore: SharedSemaphore | None = semaphore
        self._lock = threading.Lock()

    def free(self) -> None:
        """Give the place to the next that waits; further calls do nothing."""
        with self._lock:
            semaphore, self._semaphore = self._semaphore, None
        if semaphore is not None:
            semaphore._release()


@dataclass(slots=True, eq=False)
class _Ticket:
    """Waits in the queue; whether a place was granted never depends on a loop that may end."""

    loop: asyncio.AbstractEventLoop
    woken: asyncio.Future[None]
    granted: bool = False

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class SharedSemaphore:
    """Limits how many members run at once, over all event loops in which a blend is called.

    Who came first gets the next place. Copies and deep copies share the limit. A pickle keeps only the number, because
    a limit holds in one process; so a forked process begins with all places free.

    Args:
        limit: Most members that run at once, at least 1.

    Raises:
        ConfigurationError: The limit is below 1.

    Examples:
        >>> async def use():
        ...     async with SharedSemaphore(1):
        ...         return "in"
        >>> asyncio.run(use())
        'in'
    """

    def __init__(self, limit: int) -> None:
        check_number("limit", limit, least=1, whole=True)
        self.limit = limit
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._free = self.limit
        self._turns = 0
        # reentrant: a dropped coroutine may free its place while this thread holds the lock
        self._lock = threading.RLock()
        self._waiting: deque[_Ticket] = deque()

    async def acquire(self, patience_s: float | None = None) -> Slot | None:
        """Wait for a place.

        Args:
            patience_s: Give up if no place comes free for so many seconds, for anyone; up to twice as long may pass.
                ``None`` waits without a limit.

        Returns:
            The place; ``None`` if the patience is over.
        """
        loop = asyncio.get_running_loop()
        ticket = _Ticket(loop, loop.create_future())
        with self._lock:
            if self._free:
                self._free -= 1
                return Slot(self)
            self._waiting.append(ticket)
        try:
            while True:
                turns = self._turns
                await asyncio.wait([ticket.woken], timeout=patience_s)
                with self._lock:
                    if ticket.granted:
                        return Slot(self)
                    if turns == self._turns:
                        self._waiting.remove(ticket)
                        return None
        except BaseException:
            with self._lock:
                if ticket.granted:
                    # at the same moment
                    self._release()
                elif ticket in self._waiting:
                    self._waiting.remove(ticket)
            raise

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_exc: object) -> None:
        self._release()

    def __copy__(self) -> SharedSemaphore:
        return self

    def __deepcopy__(self, _memo: object) -> SharedSemaphore:
        return self

    def __reduce__(self) -> tuple[type[SharedSemaphore], tuple[int]]:
        return type(self), (self.limit,)

    def _release(self) -> None:
        with self._lock:
            self._turns += 1
            while self._waiting:
                ticket = self._waiting.popleft()
                try:
                    ticket.loop.call_soon_threadsafe(ticket.wake)
                except RuntimeError:
                    # that loop is closed, so its call has ended
                    continue
                ticket.granted = True
                return
            # places taken before a fork are not the child's
            self._free = min(self.limit, self._free + 1)


_ALL: weakref.WeakSet[SharedSemaphore] = weakref.WeakSet()


def _begin_all() -> None:
    for semaphore in list(_ALL):
        semaphore._begin()


if hasattr(os, "register_at_fork"):
    # the threads that held places are not in the child
    os.register_at_fork(after_in_child=_begin_all)


class SemaphoresByLimit:
    """Holds one semaphore for each limit, for a blend and its copies with other limits.

    Examples:
        >>> semaphores = SemaphoresByLimit()
        >>> semaphores.of(2) is semaphores.of(2), semaphores.of(None) is None
        (True, True)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._semaphores: dict[int, SharedSemaphore] = {}

    def of(self, limit: int | None) -> SharedSemaphore | None:
        """Return the semaphore for a limit.

        Args:
            limit: Most members at once; ``None`` is no limit.

        Returns:
            The same object for the same limit; ``None`` if there is no limit.
        """
        if limit is None:
            return None
        with self._lock:
            return self._semaphores.setdefault(limit, SharedSemaphore(limit))

    def __copy__(self) -> SemaphoresByLimit:
        return self

    def __deepcopy__(self, _memo: object) -> SemaphoresByLimit:
        return self

    def __reduce__(self) -> tuple[type[SemaphoresByLimit], tuple[()]]:
        return type(self), ()

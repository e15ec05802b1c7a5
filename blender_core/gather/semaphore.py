"""A semaphore that several threads and event loops can share."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

__all__ = ["SharedSemaphore"]


class SharedSemaphore:
    """Limits how many members run at once over all calls of one blend, whatever loop each call runs in.

    Args:
        limit: Slots, at least 1.

    Examples:
        >>> async def use():
        ...     async with SharedSemaphore(1):
        ...         return "in"
        >>> asyncio.run(use())
        'in'
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            self._waiting.append((loop, future))
        try:
            await future
        except asyncio.CancelledError:
            with self._lock:
                if (loop, future) in self._waiting:
                    self._waiting.remove((loop, future))
            if not future.cancelled():
                # the slot was granted in the same moment
                self._release()
            raise

    async def __aexit__(self, *_exc: object) -> None:
        self._release()

    def __deepcopy__(self, _memo: object) -> SharedSemaphore:
        # a copy of a blend shares its limit
        return self

    def _release(self) -> None:
        with self._lock:
            while self._waiting:
                loop, future = self._waiting.popleft()
                try:
                    loop.call_soon_threadsafe(self._grant, future)
                except RuntimeError:
                    # that loop is closed, its call is gone
                    continue
                return
            self._free += 1

    def _grant(self, future: asyncio.Future[None]) -> None:
        if future.done():
            self._release()
        else:
            future.set_result(None)

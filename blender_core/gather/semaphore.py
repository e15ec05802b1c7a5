"""Limit concurrent calls over several threads and event loops."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from blender_core.runtime.numbers import check_number

__all__ = ["SemaphoresByLimit", "SharedSemaphore"]


class SharedSemaphore:
    """Limits how many members run at once, over all event loops in which a blend is called.

    Copies and deep copies share the limit. A pickle keeps only the number, because a limit holds in one process.

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
                # the slot was granted at the same moment
                self._release()
            raise

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
            while self._waiting:
                loop, future = self._waiting.popleft()
                try:
                    loop.call_soon_threadsafe(self._grant, future)
                except RuntimeError:
                    # that loop is closed, so its call has ended
                    continue
                return
            self._free += 1

    def _grant(self, future: asyncio.Future[None]) -> None:
        if future.done():
            self._release()
        else:
            future.set_result(None)


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

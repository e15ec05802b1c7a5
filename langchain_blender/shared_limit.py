"""One limit of running members for a blend and its copies."""

from __future__ import annotations

import threading

from blender_core.gather.semaphore import SharedSemaphore

__all__ = ["SharedLimits"]


class SharedLimits:
    """The semaphore of a blend, handed on to its copies: by limit, as a copy may have another one.

    Examples:
        >>> limits = SharedLimits()
        >>> limits.semaphore(2) is limits.semaphore(2), limits.semaphore(None) is None
        (True, True)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._semaphore: dict[int, SharedSemaphore] = {}

    def semaphore(self, limit: int | None) -> SharedSemaphore | None:
        """The semaphore for a limit.

        Args:
            limit: Most members at once; ``None`` is no limit.

        Returns:
            The same object for the same limit; ``None`` without one.
        """
        if limit is None:
            return None
        with self._lock:
            return self._semaphore.setdefault(limit, SharedSemaphore(limit))

    def __deepcopy__(self, _memo: object) -> SharedLimits:
        return self

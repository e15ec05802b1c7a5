"""One limit of running members for a blend and its copies."""

from __future__ import annotations

import threading

from blender_core.gather.semaphore import SharedSlots

__all__ = ["SharedLimits"]


class SharedLimits:
    """The slots of a blend, handed on to its copies: by limit, as a copy may have another one.

    Examples:
        >>> limits = SharedLimits()
        >>> limits.slots(2) is limits.slots(2), limits.slots(None) is None
        (True, True)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[int, SharedSlots] = {}

    def slots(self, limit: int | None) -> SharedSlots | None:
        """The slots for a limit.

        Args:
            limit: Most members at once; ``None`` is no limit.

        Returns:
            The same object for the same limit; ``None`` without one.
        """
        if limit is None:
            return None
        with self._lock:
            return self._slots.setdefault(limit, SharedSlots(limit))

    def __deepcopy__(self, _memo: object) -> SharedLimits:
        return self

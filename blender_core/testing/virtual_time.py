"""Run coroutines in virtual time, which passes only while all of them wait."""

from __future__ import annotations

import asyncio
import selectors
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run_in_virtual_time"]

T = TypeVar("T")
# real seconds: between looks at the threads, and until a thread counts as hanging
_STEP_S, _PATIENCE_S = 0.001, 1.0
# real seconds that each thread was waited for, over all loops
_WAITED: weakref.WeakKeyDictionary[threading.Thread, float] = weakref.WeakKeyDictionary()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it, so hours pass in milliseconds.

    Time stands still while threads of the engine work for a call, up to a real second for each thread; then they count
    as hanging. Threads of others are not waited for.
    """

    def __init__(self) -> None:
        super().__init__(_JumpingSelector(self))
        self._now = 0.0

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the virtual time forward.

        Args:
            seconds: Seconds to add.
        """
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0 if timeout is not None else None)
        while not ready and timeout and (working := self._working()):
            ready = super().select(_STEP_S)
            for thread in working:
                _WAITED[thread] = _WAITED.get(thread, 0.0) + _STEP_S
        if not ready and timeout:
            # slightly more than asked, so that rounding cannot keep the timer from firing
            self._loop.advance(timeout + 1e-9)
        return ready

    def _working(self) -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith("blended-llm") and _WAITED.get(thread, 0.0) < _PATIENCE_S
        ]


def run_in_virtual_time(make_coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in virtual time.

    Args:
        make_coroutine: Makes the coroutine.

    Returns:
        Its result.

    Examples:
        >>> async def nap():
        ...     await asyncio.sleep(3600)
        ...     return round(asyncio.get_running_loop().time())
        >>> run_in_virtual_time(nap)
        3600
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(make_coroutine())

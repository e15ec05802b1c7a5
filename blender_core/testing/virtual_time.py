"""Run coroutines in virtual time, which passes only while all of them wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run_in_virtual_time"]

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it, so hours pass in milliseconds.

    It fits coroutines that wait for timers and for each other only. It does not wait for work in threads.
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
        if not ready and timeout:
            # slightly more than asked, so that rounding cannot keep the timer from firing
            self._loop.advance(timeout + 1e-9)
        return ready


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

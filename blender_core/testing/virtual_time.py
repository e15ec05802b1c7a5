"""An event loop whose time passes only when everybody waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run_in_virtual_time"]

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it, so that hours pass in milliseconds.

    For coroutines that only wait for timers and each other. Work in threads does not stop the clock.
    """

    def __init__(self) -> None:
        super().__init__(_JumpingSelector(self))
        self._now = 0.0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let virtual time pass.

        Args:
            seconds: How much.
        """
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            # a hair more than asked, so that rounding cannot leave the timer just ahead
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

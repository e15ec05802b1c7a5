"""Notice coroutines that block their event loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

if sys.platform != "win32":
    import resource

__all__ = ["WatchedSteps"]

T = TypeVar("T")

# late imports take shorter
_BLOCKS_S = 1.0
# a thread that waits for a processor or for the interpreter is woken more often than this
_SLEEPS_S = 0.1


class WatchedSteps(Generic[T]):
    """Awaits a coroutine, and notes if it takes a second and more between two of its waits.

    Time in which the thread only waited for a processor or for the interpreter is not counted, if the system tells.

    Args:
        coroutine: Awaited once, by awaiting this.

    Attributes:
        blocked_s: Seconds of the longest such step so far; 0.0 without one. Nothing else ran on the event loop then.

    Examples:
        >>> import asyncio
        >>> async def quick():
        ...     return 42
        >>> async def main():
        ...     watched = WatchedSteps(quick())
        ...     return await watched, watched.blocked_s
        >>> asyncio.run(main())
        (42, 0.0)
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.blocked_s = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._coroutine.__await__()
        step, value = steps.send, None
        try:
            while True:
                began = _now()
                try:
                    waited_for = step(value)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                finally:
                    self.blocked_s = max(self.blocked_s, _blocked_s(began, _now()))
                try:
                    step, value = steps.send, (yield waited_for)
                except GeneratorExit:
                    raise
                except BaseException as error:
                    # a cancellation, too
                    step, value = steps.throw, error
        finally:
            steps.close()


def _now() -> tuple[float, float, int]:
    """Return the time, the time in which this thread computed, and how often it was put to sleep."""
    if sys.platform != "linux":
        return time.perf_counter(), 0.0, 0
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_nvcsw + used.ru_nivcsw


def _blocked_s(began: tuple[float, float, int], ended: tuple[float, float, int]) -> float:
    seconds, computed, sleeps = (after - before for before, after in zip(began, ended, strict=True))
    if seconds < _BLOCKS_S:
        return 0.0
    starved = computed < seconds / 2 and seconds - computed < _SLEEPS_S * sleeps
    return 0.0 if starved else seconds

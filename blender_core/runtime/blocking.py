"""Notice coroutines that block their event loop."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["BLOCKS_S", "WatchedSteps"]

T = TypeVar("T")

# a busy machine or a late import makes single steps of a sound coroutine take shorter than this
BLOCKS_S = 1.0


class WatchedSteps(Generic[T]):
    """Awaits a coroutine, and measures the longest time between two of its waits.

    Args:
        coroutine: Awaited once, by awaiting this.

    Attributes:
        longest_s: Seconds of the longest step so far. In that time nothing else ran on the event loop.

    Examples:
        >>> import asyncio
        >>> async def block():
        ...     time.sleep(0.01)
        >>> async def main():
        ...     watched = WatchedSteps(block())
        ...     await watched
        ...     return watched.longest_s >= 0.01
        >>> asyncio.run(main())
        True
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.longest_s = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._coroutine.__await__()
        step, value = steps.send, None
        try:
            while True:
                began = time.perf_counter()
                try:
                    waited_for = step(value)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                finally:
                    self.longest_s = max(self.longest_s, time.perf_counter() - began)
                try:
                    step, value = steps.send, (yield waited_for)
                except GeneratorExit:
                    raise
                except BaseException as error:
                    # a cancellation, too
                    step, value = steps.throw, error
        finally:
            steps.close()

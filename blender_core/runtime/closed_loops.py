"""Ask again if a client still holds connections of an event loop that has ended.

Clients that several ``asyncio.run`` share keep connections of the first loop. A call that gets such a connection fails
before it sends anything, and the client drops the connection.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

__all__ = ["foreign_loop", "past_closed_loops", "stream_past_closed_loops"]

T = TypeVar("T")

# a pool holds at most about this many idle connections
_MOST_CALLS = 100
# a call that takes longer to fail did some work, which must not be repeated for ever
_MOST_S = 1.0
_DEPTH = 20


def foreign_loop(error: BaseException) -> str | None:
    """Tell whether a call failed because its client belongs to another event loop.

    Args:
        error: The exception; its causes are read too.

    Returns:
        ``"closed"`` if that loop has ended, ``"other"`` if it has not, ``None`` if this is not the cause.

    Examples:
        >>> foreign_loop(RuntimeError("Event loop is closed"))
        'closed'
    """
    cause: BaseException | None = error
    for _ in range(_DEPTH):
        if cause is None:
            break
        if isinstance(cause, RuntimeError):
            said = str(cause)
            if "Event loop is closed" in said:
                return "closed"
            if "attached to a different loop" in said or "bound to a different event loop" in said:
                return "other"
        cause = cause.__cause__ or cause.__context__
    return None


async def past_closed_loops(call: Callable[[], Awaitable[T]]) -> T:
    """Await a call; repeat it at once while it meets connections of a closed event loop.

    Args:
        call: Makes the awaitable, anew for each try.

    Returns:
        Its result. Any other exception is raised, and this one after 100 tries or 1 s.
    """
    tries = _Tries()
    while True:
        try:
            return await call()
        except Exception as error:
            if not tries.again(error):
                raise


async def stream_past_closed_loops(make: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
    """Iterate; begin anew at once while the start meets connections of a closed event loop.

    Args:
        make: Makes the iterator, anew for each try.

    Yields:
        Its items; see ``past_closed_loops``.
    """
    tries = _Tries()
    while True:
        begun = False
        iterator = make()
        try:
            async for item in iterator:
                begun = True
                yield item
            return
        except Exception as error:
            if begun or not tries.again(error):
                raise
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()


class _Tries:
    def __init__(self) -> None:
        self._left = _MOST_CALLS
        self._until = time.monotonic() + _MOST_S

    def again(self, error: BaseException) -> bool:
        self._left -= 1
        return foreign_loop(error) == "closed" and self._left > 0 and time.monotonic() < self._until

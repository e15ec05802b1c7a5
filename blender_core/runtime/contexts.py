"""Run a stream in a given context."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, TypeVar, cast

from blender_core.runtime.program_end import in_context

__all__ = ["aiterate_in_context", "iterate_in_context"]

T = TypeVar("T")
_END: Any = object()


def iterate_in_context(items: Iterator[T], context: contextvars.Context) -> Generator[T, None, None]:
    """Iterate a generator whose first step runs in a context.

    The engine copies the context of the first step for the whole call.

    Args:
        items: A generator that has not started. Closing this one closes it too.
        context: The context of the first step.

    Yields:
        The items.

    Examples:
        >>> name = contextvars.ContextVar("name", default="outside")
        >>> context = contextvars.copy_context()
        >>> _ = context.run(name.set, "inside")
        >>> list(iterate_in_context((name.get() for _ in range(1)), context))
        ['inside']
    """
    with contextlib.closing(cast(Any, items)):
        item = context.run(next, items, _END)
        while item is not _END:
            yield item
            item = next(items, _END)


async def aiterate_in_context(items: AsyncIterator[T], context: contextvars.Context) -> AsyncGenerator[T, None]:
    """Iterate an asynchronous generator in a context; see ``iterate_in_context``."""
    async with contextlib.aclosing(cast(Any, items)):
        item = await in_context(lambda: _step(items), context)
        while item is not _END:
            yield item
            item = await _step(items)


async def _step(items: AsyncIterator[T]) -> T:
    return await anext(items, _END)

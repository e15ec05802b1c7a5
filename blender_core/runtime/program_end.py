"""Bring a KeyboardInterrupt or SystemExit of any part to the caller.

A task that raises one of them ends its event loop at once, in the middle of the call. So the engine's tasks raise a
``ProgramEnd`` in its place. The call ends in order, and its caller gets the error itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeVar

__all__ = ["PROGRAM_ENDS", "ProgramEnd", "carrying", "in_context", "released"]

T = TypeVar("T")

PROGRAM_ENDS = (KeyboardInterrupt, SystemExit)


class ProgramEnd(BaseException):
    """Carries the error of a part that ends the program; users never see it.

    It is no ``Exception``, so that no handler of a part's failures takes it for one.

    Args:
        error: The error.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__} was raised: {error}")
        self.error = error


async def carrying(work: Callable[[], Awaitable[T]]) -> T:
    """Await what runs in a task; an error that ends the program is carried.

    Args:
        work: Makes what is awaited. A task that is cancelled before its first step makes nothing.

    Returns:
        Its result.

    Raises:
        ProgramEnd: It raised ``KeyboardInterrupt`` or ``SystemExit``.
    """
    try:
        return await work()
    except PROGRAM_ENDS as error:
        raise ProgramEnd(error) from error


async def released(work: Awaitable[T]) -> T:
    """Await something for the caller; a carried error is raised as itself.

    Args:
        work: Awaited.

    Returns:
        Its result.

    Examples:
        >>> import asyncio
        >>> async def leave():
        ...     raise SystemExit(2)
        >>> async def call():
        ...     try:
        ...         await released(asyncio.create_task(carrying(leave)))
        ...     except SystemExit as error:
        ...         return error.code
        >>> asyncio.run(call())
        2
    """
    try:
        return await work
    except ProgramEnd as end:
        carried = end
    raise carried.error


async def in_context(work: Callable[[], Awaitable[T]], context: Context) -> T:
    """Await something in a context of its own.

    Args:
        work: Makes what is awaited in a task.
        context: The context of the task.

    Returns:
        Its result. An error that ends the program is raised here, not in the task.
    """
    return await released(asyncio.create_task(carrying(work), context=context))

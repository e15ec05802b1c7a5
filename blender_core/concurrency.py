"""Threads and event loops: how synchronous code meets the asynchronous core.

Threads here are daemons made for one call. The default executor is not used: a member that hangs for ever
would keep the interpreter from leaving, and its pool would run dry.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

__all__ = ["call_in_thread", "iterate_in_thread", "run_sync", "stream_sync"]

T = TypeVar("T")
_END = object()


async def call_in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Run a blocking function in a daemon thread of its own, with the context variables copied.

    Cancelling the wait abandons the thread: Python cannot stop it, but nothing waits for it either.

    Args:
        function: Any blocking callable.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What the function returns; its exception is raised here.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if isinstance(error, StopIteration):
            error = RuntimeError(f"{function!r} raised StopIteration")
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result, caught = None, None
        try:
            result = context.run(function, *args, **kwargs)
        except BaseException as error:
            caught = error
        _post(loop, deliver, result, caught)

    threading.Thread(target=work, daemon=True, name="blended-llm-call").start()
    return await future


async def iterate_in_thread(make_iterator: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Walk a blocking iterator in a daemon thread and hand its items over one by one.

    Args:
        make_iterator: Makes the iterator; called in the thread.

    Yields:
        The iterator's items; its exception is raised here. Leaving early stops the thread at its next item.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()
    context = contextvars.copy_context()
    left = threading.Event()

    def walk() -> None:
        iterator = make_iterator()
        try:
            for item in iterator:
                if left.is_set():
                    return
                _post(loop, items.put_nowait, (item, None))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def work() -> None:
        caught: BaseException | None = None
        try:
            context.run(walk)
        except BaseException as error:
            caught = error
        _post(loop, items.put_nowait, (_END, caught))

    threading.Thread(target=work, daemon=True, name="blended-llm-stream").start()
    try:
        while True:
            item, error = await items.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        left.set()


def run_sync(make_coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine from synchronous code, also where an event loop is already running (Jupyter).

    Args:
        make_coroutine: Makes the coroutine; called in the thread that runs it.

    Returns:
        The coroutine's result; its exception is raised here.

    Example:
        >>> async def answer():
        ...     return 42
        >>> run_sync(answer)
        42
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make_coroutine())
    box: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            box.put((context.run(asyncio.run, make_coroutine()), None))
        except BaseException as error:
            box.put((None, error))

    threading.Thread(target=work, daemon=True, name="blended-llm-loop").start()
    result, error = box.get()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def stream_sync(make_iterator: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """Walk an asynchronous iterator from synchronous code; it runs in a loop in a thread of its own.

    Args:
        make_iterator: Makes the asynchronous iterator; called in that thread.

    Yields:
        Its items as they come. Leaving early cancels what is left.
    """
    items: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
    context = contextvars.copy_context()
    state: dict[str, Any] = {}

    async def pump() -> None:
        state["loop"], state["task"] = asyncio.get_running_loop(), asyncio.current_task()
        iterator = make_iterator()
        try:
            async for item in iterator:
                items.put((item, None))
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    def work() -> None:
        caught: BaseException | None = None
        try:
            context.run(asyncio.run, pump())
        except BaseException as error:
            caught = error
        items.put((_END, caught))

    thread = threading.Thread(target=work, daemon=True, name="blended-llm-loop")
    thread.start()
    finished = False
    try:
        while True:
            item, error = items.get()
            finished = item is _END or error is not None
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        if not finished and "task" in state:
            _post(state["loop"], state["task"].cancel)
            thread.join()


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *args: Any) -> None:
    """Hand a result to a loop that may have closed meanwhile; then nobody waits for it any more."""
    if loop.is_closed():
        return
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # closed between the check and the call
        return

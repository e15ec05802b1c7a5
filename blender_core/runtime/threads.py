"""Connect synchronous code and the asynchronous core by threads and event loops.

Each call gets a new daemon thread. A pool would run dry if members hang, and would keep the interpreter from exiting.
The exit waits only for threads that compute in native code (``ComputingThread``).

Work that computes waits for its turn before it gets a thread: many threads that compute at once starve every event
loop of the process, and each holds memory. A turn ends with the wait for its result, so work that hangs keeps no other
from its turn.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import queue
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from typing import Any, TypeVar

from blender_core.errors import BlendError
from blender_core.runtime.program_end import PROGRAM_ENDS, ProgramEnd, carrying
from blender_core.runtime.semaphore import SharedSemaphore, Slot

__all__ = [
    "CHECKS",
    "RANKINGS",
    "ComputingThread",
    "await_in_thread",
    "call_in_thread",
    "compute_in_thread",
    "drain",
    "end_turn",
    "iterate_in_thread",
    "retrieve",
    "run_sync",
    "stop_if_given_up",
    "stream_sync",
]

# longest wait at exit, in seconds
_EXIT_S = 5.0


def stop_if_given_up() -> None:
    """Raise in a :class:`ComputingThread` if nobody waits for its result.

    Raises:
        BlendError: Nobody waits for the result.
    """
    thread = threading.current_thread()
    if isinstance(thread, ComputingThread) and thread.given_up.is_set():
        raise BlendError("nobody waits for this result any more")


class ComputingThread(threading.Thread):
    """Runs native code in a daemon thread that the interpreter waits for at exit.

    Args:
        work: Run in the thread.
        name: Name of the thread.
        given_up: Event for the attribute; default a new one.

    Attributes:
        given_up: Set once nobody waits for the result; :func:`stop_if_given_up` reads it.
    """

    def __init__(
        self,
        work: Callable[[], None],
        *,
        name: str = "blended-llm-compute",
        given_up: threading.Event | None = None,
    ) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self.given_up = given_up or threading.Event()


@atexit.register
def _wait_for_computing_threads() -> None:
    left = [thread for thread in threading.enumerate() if isinstance(thread, ComputingThread)]
    for thread in left:
        thread.given_up.set()
    until = time.monotonic() + _EXIT_S
    for thread in left:
        thread.join(max(0.0, until - time.monotonic()))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


RANKINGS = SharedSemaphore(max(2, min(8, _cores())))
"""Rankings that compute at the same time in this process; ``benchmarks/concurrency.py`` says what a limit is worth."""

CHECKS = SharedSemaphore(2)
"""Short work in pure Python, such as the check of a text. Python runs one thread at a time, so more gain nothing."""

_turn: contextvars.ContextVar[Slot | None] = contextvars.ContextVar("blended_llm_turn", default=None)

T = TypeVar("T")
_END = object()
# tasks that ignore their cancellation are abandoned after this many seconds
_DRAIN_S = 0.05
_abandoned: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
# as long as no turn ends, the work that holds them may never end
_STUCK_S = 10.0
# longest wait for a thread whose loop was told to stop, in seconds
_JOIN_S = 1.0


async def call_in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Run a blocking function in a new daemon thread, with a copy of the context variables.

    Cancelling the wait abandons the thread: Python cannot stop it, but nothing waits for it either.

    Args:
        function: Any blocking callable.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The function's result. Its exception is raised here, a ``StopIteration`` or ``GeneratorExit`` in a
        ``RuntimeError``.
    """
    future, work = _prepare(lambda: function(*args, **kwargs))
    threading.Thread(target=work, daemon=True, name="blended-llm-call").start()
    return await future


async def await_in_thread(make_coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in an event loop of its own, in a thread, so that it cannot block this one.

    Args:
        make_coroutine: Makes the coroutine; called in the thread.

    Returns:
        As from ``call_in_thread``. Cancelling the wait cancels the coroutine.
    """
    handle = _Handle()

    async def supervised() -> T:
        handle.attach()
        task = asyncio.ensure_future(carrying(make_coroutine))
        try:
            await asyncio.wait([task])
        finally:
            # one that ignores its cancellation must not keep the thread
            await drain([] if task.done() else [task])
        return task.result()

    future, work = _prepare(lambda: _run(supervised))
    threading.Thread(target=work, daemon=True, name="blended-llm-call").start()
    try:
        return await future
    finally:
        handle.cancel()


async def compute_in_thread(function: Callable[[], T], /, *, turns: SharedSemaphore | None = None) -> T:
    """Run work that computes, such as a ranker's, in a thread; see ``call_in_thread``.

    Abandoned work ends at its next ``stop_if_given_up``. The interpreter waits for it a few seconds at exit.

    Args:
        function: Any blocking callable.
        turns: How much of such work runs at once, as ``RANKINGS``; ``None`` is no limit. It has no thread before its
            turn comes. If no turn ends for 10 s, some are stuck: it then begins without one.

    Returns:
        As from ``call_in_thread``.
    """
    slot = None if turns is None else await turns.acquire(patience_s=_STUCK_S)
    try:
        future, work = _prepare(_in_turn(function, slot))
        thread = ComputingThread(work)
        thread.start()
        try:
            return await future
        finally:
            thread.given_up.set()
    finally:
        if slot is not None:
            slot.free()


def _in_turn(function: Callable[[], T], slot: Slot | None) -> Callable[[], T]:
    def run() -> T:
        _turn.set(slot)
        return function()

    return run


def end_turn() -> None:
    """Give back the turn that this thread computes in, because it now waits for others.

    So work that waits for an LLM keeps nobody from computing, and a blend inside a ranker gets turns for itself.
    """
    slot = _turn.get()
    if slot is not None:
        slot.free()


def _prepare(function: Callable[[], T]) -> tuple[asyncio.Future[T], Callable[[], None]]:
    """Make a future of the running loop, and the work of the thread that fills it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(_as_awaitable(error))

    def work() -> None:
        result, caught = None, None
        try:
            result = context.run(function)
        except BaseException as error:
            caught = error
        _post(loop, deliver, result, caught)

    return future, work


async def iterate_in_thread(make_iterator: Callable[[], Iterator[T]], *, computes: bool = False) -> AsyncIterator[T]:
    """Iterate a blocking iterator in a daemon thread, and yield its items.

    Args:
        make_iterator: Makes the iterator; called in the thread.
        computes: Whether native code computes the items; the thread is then a ``ComputingThread``.

    Yields:
        The iterator's items; its exception is raised here, wrapped as by ``call_in_thread``. Leaving early stops the
        thread at its next item, or at its next ``stop_if_given_up``.
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

    name = "blended-llm-stream"
    if computes:
        ComputingThread(work, name=name, given_up=left).start()
    else:
        threading.Thread(target=work, daemon=True, name=name).start()
    try:
        while True:
            item, error = await items.get()
            if error is not None:
                raise _as_awaitable(error)
            if item is _END:
                return
            yield item
    finally:
        left.set()


def run_sync(make_coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine from synchronous code, even if an event loop is already running (Jupyter).

    Args:
        make_coroutine: Makes the coroutine; called in the thread that runs it.

    Returns:
        The coroutine's result; its exception is raised here.

    Examples:
        >>> async def answer():
        ...     return 42
        >>> run_sync(answer)
        42
    """
    end_turn()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(make_coroutine)
    box: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
    context = contextvars.copy_context()
    handle = _Handle()

    async def main() -> T:
        handle.attach()
        return await make_coroutine()

    def work() -> None:
        try:
            box.put((context.run(_run, main), None))
        except BaseException as error:
            box.put((None, error))

    thread = threading.Thread(target=work, daemon=True, name="blended-llm-loop")
    thread.start()
    try:
        result, error = box.get()
    except BaseException:
        # Ctrl-C in a notebook: the call has to end too
        handle.cancel()
        thread.join(_JOIN_S)
        raise
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def stream_sync(make_iterator: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """Iterate an asynchronous iterator from synchronous code, in a separate thread.

    Args:
        make_iterator: Makes the asynchronous iterator; called in that thread.

    Yields:
        Its items as they come. Leaving early cancels the rest.
    """
    end_turn()
    items: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
    context = contextvars.copy_context()
    handle = _Handle()

    async def pump() -> None:
        handle.attach()
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
            context.run(_run, pump)
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
        if not finished:
            handle.cancel()
            thread.join(_JOIN_S)


async def drain(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait up to 0.05 s for their end; then abandon them.

    Args:
        tasks: Tasks of the running loop. One that was abandoned before is not waited for again.
    """
    waiting = [task for task in tasks if task not in _abandoned]
    if not waiting:
        return
    for task in waiting:
        task.cancel()
    try:
        await asyncio.wait(waiting, timeout=_DRAIN_S)
    finally:
        for task in waiting:
            task.add_done_callback(retrieve)
            if not task.done():
                _abandoned.add(task)


def retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of an abandoned task, so that the loop does not warn.

    Args:
        task: A task that is done.
    """
    if not task.cancelled():
        task.exception()


def _as_awaitable(error: BaseException) -> BaseException:
    """Wrap an error of another thread if coroutines here would react to it, or if no handler of errors would see it."""
    plain = isinstance(error, Exception) and not isinstance(error, StopIteration)
    if plain or isinstance(error, (*PROGRAM_ENDS, ProgramEnd)):
        return error
    wrapped = RuntimeError(f"{type(error).__name__} was raised: {error}")
    wrapped.__cause__ = error
    return wrapped


class _Handle:
    """Cancels a coroutine that runs in another thread's loop, also if it has not begun yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def attach(self) -> None:
        """Register the current task; called inside the coroutine."""
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            self._running = asyncio.get_running_loop(), task
            if self._cancelled:
                task.cancel()

    def cancel(self) -> None:
        """Cancel it, from any thread."""
        with self._lock:
            self._cancelled = True
            if self._running is not None:
                _post(self._running[0], self._running[1].cancel)


def _run(make_coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine as ``asyncio.run`` does, but do not wait for tasks that hang.

    ``asyncio.run`` waits for every leftover task and for the default executor's threads, so a member that
    ignores its cancellation would block the caller. Here the wait is limited, then the loop is closed.
    """
    runner = asyncio.Runner(loop_factory=_make_loop)
    loop = runner.get_loop()
    try:
        return runner.run(carrying(make_coroutine))
    except ProgramEnd as end:
        carried = end
    finally:
        try:
            left = asyncio.all_tasks(loop)
            loop.run_until_complete(drain(left))
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), _JOIN_S))
        finally:
            # the remaining tasks cannot run after this, and must not warn
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.close()
    raise carried.error


def _make_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_DaemonExecutor())
    return loop


class _DaemonExecutor(concurrent.futures.ThreadPoolExecutor):
    """Runs each job in a daemon thread, so that ``asyncio.to_thread`` never blocks the exit."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, daemon=True, name="blended-llm-executor").start()
        return future


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *args: Any) -> None:
    """Pass a result to a loop; do nothing if the loop is closed."""
    if loop.is_closed():
        return
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # closed between the check and the call
        return

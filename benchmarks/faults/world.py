"""Hold the world of one chaos schedule: virtual time that threads keep too, and a record of what happens.

The loop's time jumps to the next timer only when every thread of the call waits. So a ranker or a member in a thread
takes virtual seconds, and a schedule runs the same way each time.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

__all__ = ["OverError", "World", "threads_left"]

# real seconds for which a busy thread is awaited before time moves on without it
_PATIENCE_S = 5.0
# threads of the process itself; those of the engine are watched although they may outlive a schedule
_AT_START = frozenset(thread.ident for thread in threading.enumerate())
_ENGINE = "blended-llm"
# what a thread runs of a blend
_PARTS = frozenset({"accept", "blend", "check", "fuse", "generate", "observe", "rank", "stream", "why_not"})


class OverError(Exception):
    """Raised in a part that still runs when its schedule is over."""


class World:
    """Runs one schedule's loop, and records what its parts do.

    Attributes:
        loop: The event loop.
        problems: What the loop reported: exceptions that nobody retrieved, tasks that were destroyed.
        deaf: Tasks in which a part swallows every cancellation.
        held: Threads in which a part hangs.
        running: Parts on the loop that run and were not cancelled.
        peak: Most of them at once.
        calm: Whether every part answers at once.
        over: Whether the schedule has ended.
    """

    def __init__(self) -> None:
        self.loop = _Loop()
        self.problems: list[str] = []
        self.deaf: set[asyncio.Task[Any]] = set()
        self.held: set[int] = set()
        self.running = self.peak = 0
        self.calm = self.over = False
        self._waiting: set[threading.Event] = set()
        self.loop.set_exception_handler(self._report)

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.loop.time()

    async def wait(self, seconds: float | None, *, swallows: int = 0, in_slot: bool = False) -> None:
        """Wait on the loop.

        Args:
            seconds: Virtual seconds; ``None`` is for ever.
            swallows: Cancellations that are ignored; -1 for all.
            in_slot: Whether it counts among the parts that run at once.
        """
        task = asyncio.current_task()
        assert task is not None
        if swallows < 0 or (swallows and seconds is None):
            # a part that hangs and swallows a cancellation may never get another
            self.deaf.add(task)
        until = float("inf") if seconds is None or self.calm else self.now + seconds
        if self.calm:
            until = self.now
        counted = in_slot
        self._enter(counted)
        try:
            while self.now < until:
                try:
                    await self._sleep(min(until - self.now, 3600.0))
                except asyncio.CancelledError:
                    if self.over or not swallows:
                        raise
                    swallows -= 1
                    self._leave(counted)
                    counted = False
            # a part that waits for nothing still lets others run
            await asyncio.sleep(0)
        finally:
            self._leave(counted)
            self.deaf.discard(task)

    async def _sleep(self, seconds: float) -> None:
        here = asyncio.get_running_loop()
        if here is self.loop:
            await asyncio.sleep(seconds)
            return
        # a loop of its own in a thread, whose time is real
        done = here.create_future()

        def wake() -> None:
            with suppress(RuntimeError):
                here.call_soon_threadsafe(lambda: done.done() or done.set_result(None))
            _wait_for_rest(self.loop.thread)

        self.loop.call_soon_threadsafe(self.loop.call_later, seconds, wake)
        await done

    def block(self, seconds: float | None) -> None:
        """Wait in a thread; on the loop's own thread the virtual time passes for all.

        Args:
            seconds: Virtual seconds; ``None`` is for ever, in a thread only.

        Raises:
            OverError: The schedule has ended.
        """
        if self.calm or (seconds is not None and seconds <= 0):
            return
        if threading.get_ident() == self.loop.thread:
            assert seconds is not None, "a part that is called on the loop may not hang"
            self.loop.advance(seconds)
            return
        done = threading.Event()
        self._waiting.add(done)
        ident = threading.get_ident()
        if seconds is None:
            self.held.add(ident)
        else:
            try:
                self.loop.call_soon_threadsafe(self.loop.call_later, seconds, self._wake, done)
            except RuntimeError as error:
                raise OverError from error
        done.wait()
        self._waiting.discard(done)
        self.held.discard(ident)
        if self.over:
            raise OverError

    def end(self) -> None:
        """Release every part that still waits, so that the loop can close."""
        self.over = True
        for done in list(self._waiting):
            done.set()

    def _wake(self, done: threading.Event) -> None:
        done.set()
        # one thread after the other, so that a schedule always runs the same way
        _wait_for_rest(self.loop.thread)

    def _enter(self, counted: bool) -> None:
        self.running += counted
        self.peak = max(self.peak, self.running)

    def _leave(self, counted: bool) -> None:
        self.running -= counted

    def _report(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.over:
            error = context.get("exception")
            self.problems.append(f"the loop reports {context['message']!r}" + (f": {error!r}" if error else ""))


class _Task(asyncio.Task[Any]):
    """Has the same place in every set each time; by default that is its address in memory."""

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        self._number = number
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class _Selector(selectors.DefaultSelector):
    """Jumps to the next timer instead of waiting for it, once every thread waits."""

    loop: _Loop

    def select(self, timeout: float | None = None) -> Any:
        _wait_for_rest(self.loop.thread)
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            # slightly more than asked, so that rounding cannot keep the timer from firing
            self.loop.advance(timeout + 1e-9)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    """Waits for threads before time jumps, counts its turns, and calls back at one of them."""

    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self._now = 0.0
        self.thread = threading.get_ident()
        self.turns = 0
        numbers = itertools.count()
        self.set_task_factory(lambda loop, work, **kwargs: _Task(next(numbers), work, loop=loop, **kwargs))
        self._at: dict[int, list[Callable[[], object]]] = {}

    def time(self) -> float:
        """Return the virtual seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let virtual seconds pass for all."""
        self._now += seconds

    def at_turn(self, turns: int, callback: Callable[[], object]) -> None:
        """Call back after a number of further turns."""
        self._at.setdefault(self.turns + max(1, turns), []).append(callback)

    def _run_once(self) -> None:
        self.turns += 1
        for callback in self._at.pop(self.turns, ()):
            callback()
        super()._run_once()  # type: ignore[misc]


def threads_left(world: World) -> list[str]:
    """Name the threads that still run a part of the blend; an idle thread of a pool runs none.

    Args:
        world: The schedule's world; threads in which its parts hang are left out.

    Returns:
        One line each, with the place.
    """
    left = []
    for thread, frame in _watched(world.loop.thread):
        if thread.ident not in world.held and not _names(frame).isdisjoint(_PARTS):
            left.append(f"thread {thread.name} in {_place(frame)}")
    return left


def _wait_for_rest(own: int | None) -> None:
    if threading.active_count() == 1:
        return
    until = time.monotonic() + _PATIENCE_S
    while not all(_rests(frame) for _, frame in _watched(own)):
        # gives the lock of the interpreter to the busy thread
        time.sleep(0)
        if time.monotonic() > until:
            return


def _watched(own: int | None) -> list[tuple[threading.Thread, FrameType]]:
    frames = sys._current_frames()
    return [
        (thread, frames[thread.ident])
        for thread in threading.enumerate()
        if thread.ident in frames
        and thread.ident != own
        and (thread.ident not in _AT_START or thread.name.startswith(_ENGINE))
    ]


def _rests(frame: FrameType) -> bool:
    """Whether a thread waits for another one, and was not woken yet."""
    code = frame.f_code
    if code.co_filename == threading.__file__:
        if code.co_name == "wait":
            waiter = frame.f_locals.get("waiter")
            return waiter is not None and waiter.locked()
        return code.co_name == "_wait_for_tstate_lock"
    return _waits_for_work(frame) or _is_idle_loop(frame)


def _is_idle_loop(frame: FrameType | None) -> bool:
    """Whether a thread is an event loop that has nothing to do yet."""
    if frame is None or not frame.f_code.co_filename.endswith("selectors.py"):
        return False
    while frame is not None:
        if frame.f_code.co_name == "_run_once":
            return not frame.f_locals["self"]._ready
        frame = frame.f_back
    return False


def _waits_for_work(frame: FrameType | None) -> bool:
    """Whether a thread of a pool waits for its next job."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.endswith("queue.py") and code.co_name == "get":
            return True
        if code.co_filename.endswith("thread.py") and code.co_name == "_worker":
            return bool(frame.f_locals["work_queue"].empty())
        if code.co_filename != threading.__file__:
            return False
        frame = frame.f_back
    return False


def _names(frame: FrameType | None) -> set[str]:
    names = set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


def _place(frame: FrameType | None) -> str:
    while frame is not None and "blender_core" not in frame.f_code.co_filename:
        frame = frame.f_back
    return "its end" if frame is None else f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"

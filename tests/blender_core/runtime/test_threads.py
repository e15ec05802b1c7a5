"""Threads, event loops, and the semaphore they share."""

import asyncio
import contextvars
import threading
import time

import pytest

from blender_core.runtime.semaphore import SharedSemaphore
from blender_core.runtime.threads import call_in_thread, iterate_in_thread, run_sync, stream_sync

variable = contextvars.ContextVar("variable", default="unset")


async def double(number):
    await asyncio.sleep(0)
    return number * 2


def test_run_sync_without_and_within_a_loop():
    assert run_sync(lambda: double(2)) == 4

    async def cell():
        return run_sync(lambda: double(3))

    assert asyncio.run(cell()) == 6


def test_run_sync_within_a_loop_keeps_context_and_raises_errors():
    async def read():
        return variable.get()

    async def fail():
        raise KeyError("x")

    async def cell():
        variable.set("set")
        with pytest.raises(KeyError):
            run_sync(fail)
        return run_sync(read)

    assert asyncio.run(cell()) == "set"


@pytest.mark.parametrize("error", [ValueError("x"), GeneratorExit(), StopIteration()])
def test_errors_come_back_from_threads(error):
    def fail():
        raise error

    expected = ValueError if isinstance(error, ValueError) else RuntimeError

    async def call():
        with pytest.raises(expected):
            await call_in_thread(fail)

    asyncio.run(call())


def test_a_thread_that_hangs_holds_nobody():
    release = threading.Event()

    async def call():
        async with asyncio.timeout(0.05):
            await call_in_thread(release.wait)

    with pytest.raises(TimeoutError):
        asyncio.run(call())
    # the abandoned thread ends into a closed loop, and nobody is told
    release.set()


def test_iterating_a_blocking_iterator():
    closed = threading.Event()

    def numbers():
        try:
            for number in range(1000):
                time.sleep(0.001)
                yield number
        finally:
            closed.set()

    async def first_three():
        iterator = iterate_in_thread(numbers)
        seen = [await anext(iterator) for _ in range(3)]
        await iterator.aclose()
        return seen

    assert asyncio.run(first_three()) == [0, 1, 2]
    assert closed.wait(2)

    def broken():
        yield 1
        raise OSError("cut")

    async def walk():
        return [item async for item in iterate_in_thread(broken)]

    with pytest.raises(OSError, match="cut"):
        asyncio.run(walk())


def test_streaming_an_asynchronous_iterator():
    ended = threading.Event()

    async def numbers():
        try:
            for number in range(1000):
                await asyncio.sleep(0.001)
                yield number
        finally:
            ended.set()

    stream = stream_sync(numbers)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    stream.close()
    assert ended.is_set()

    async def broken():
        yield 1
        raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        list(stream_sync(broken))


def test_slots_are_shared_between_event_loops_and_freed_by_cancellation():
    semaphore, lock = SharedSemaphore(2), threading.Lock()
    running, peak = 0, 0

    async def use(seconds):
        nonlocal running, peak
        async with semaphore:
            with lock:
                running += 1
                peak = max(peak, running)
            await asyncio.sleep(seconds)
            with lock:
                running -= 1

    async def loop_of_its_own():
        impatient = asyncio.create_task(use(0.01))
        await asyncio.sleep(0)
        others = [asyncio.create_task(use(0.02)) for _ in range(3)]
        await asyncio.sleep(0.005)
        others[2].cancel()
        await asyncio.gather(impatient, *others, return_exceptions=True)

    threads = [threading.Thread(target=lambda: asyncio.run(loop_of_its_own())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak == 2

    async def both_free():
        async with semaphore, semaphore:
            return True

    assert asyncio.run(asyncio.wait_for(both_free(), 1))


@pytest.mark.parametrize("error", [ValueError("x"), GeneratorExit(), BaseException("panic")])
def test_errors_of_an_iterator_come_back_as_those_of_a_call(error):
    def broken():
        yield 1
        raise error

    async def walk():
        return [item async for item in iterate_in_thread(broken)]

    with pytest.raises(ValueError if isinstance(error, ValueError) else RuntimeError):
        asyncio.run(walk())


async def test_a_slot_goes_past_those_that_stopped_waiting():
    semaphore, entered = SharedSemaphore(1), []

    async def use(name):
        async with semaphore:
            entered.append(name)

    async with semaphore:
        waiting = [asyncio.create_task(use(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0)
        for given_up in waiting[:2]:
            given_up.cancel()
        assert [type(end) for end in await asyncio.gather(*waiting[:2], return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 2
        assert entered == []
    await waiting[2]
    await use("last")
    assert entered == ["third", "last"]
    async with semaphore:
        late = asyncio.create_task(use("late"))
        await asyncio.sleep(0)
    # the slot was granted at the same moment
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    await use("end")
    assert entered == ["third", "last", "end"]

"""A coroutine that blocks its loop is noticed; one that waits, or whose machine is busy, is not accused."""

import asyncio
import subprocess
import sys

import pytest

from blender_core.runtime.blocking import WatchedSteps

BLOCKING = """
import asyncio, time
from blender_core.runtime.blocking import WatchedSteps

async def block():
    await asyncio.sleep(0)
    time.sleep(1.2)
    await asyncio.sleep(0)

async def main():
    watched = WatchedSteps(block())
    await watched
    return watched.blocked_s

assert asyncio.run(main()) >= 1.2
"""


def test_a_real_sleep_is_noticed():
    # in a process of its own, where no other thread wants the interpreter
    subprocess.run([sys.executable, "-c", BLOCKING], check=True)


@pytest.mark.parametrize(
    ("ended", "blocked_s"),
    [
        pytest.param((1.5, 0.0, 1), 1.5, id="slept"),
        pytest.param((1.5, 1.4, 300), 1.5, id="computed"),
        pytest.param((1.5, 0.2, 100), 0.0, id="waited for a processor"),
        pytest.param((0.9, 0.9, 0), 0.0, id="not long"),
    ],
)
async def test_a_step_is_judged_by_what_its_thread_did(ended, blocked_s, monkeypatch):
    readings = iter([(0.0, 0.0, 0), ended])
    monkeypatch.setattr("blender_core.runtime.blocking._now", lambda: next(readings))

    async def step():
        return "done"

    watched = WatchedSteps(step())
    assert await watched == "done"
    assert watched.blocked_s == pytest.approx(blocked_s)


async def test_a_wait_is_no_step():
    watched = WatchedSteps(asyncio.sleep(1.1))
    await watched
    assert watched.blocked_s == 0

"""How much the engine adds to the slowest member.

Eleven members sleep 0.2 s to 1.0 s. A bare ``asyncio.gather`` over the same sleeps runs in turn with the blender,
so that both see the same machine.

    python benchmarks/gather_latency.py --rounds 10
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

from blender_core import Blender
from blender_core.testing import FakeMember, FakeRanker

LATENCIES = [0.2 + 0.08 * number for number in range(11)]


async def bare() -> None:
    await asyncio.gather(*(asyncio.sleep(latency) for latency in LATENCIES))


def timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    members = [FakeMember(f"m{n}", f"answer {n}", latency_s=latency) for n, latency in enumerate(LATENCIES)]
    blender = Blender(members, ranker=FakeRanker(), fuser=None)
    contestants = {
        "bare asyncio.gather": lambda: asyncio.run(bare()),
        "Blender.ablend": lambda: asyncio.run(blender.ablend("question")),
        "Blender.blend (threads)": lambda: blender.blend("question"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            seconds[name].append(timed(function))
    print(f"slowest member {max(LATENCIES):.3f} s, {len(LATENCIES)} members, {rounds} rounds")
    for name, values in seconds.items():
        added = [1000 * (value - max(LATENCIES)) for value in values]
        print(f"{name:26s} adds {statistics.median(added):6.1f} ms (median), {max(added):6.1f} ms (worst)")


if __name__ == "__main__":
    main()

"""A member that is down: what a circuit breaker and a reserve change, in virtual time.

    python benchmarks/member_down.py

Three members and a reserve answer in 1 to 3 s. One of the three is down in one of several ways. A call comes every 5 s,
whether or not the last one has ended. There is no network, and nothing waits.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from collections.abc import Callable
from typing import Any

from blender_core import Answer, Blender, CircuitBreaker, GatherPolicy, Member, Prompt
from blender_core.testing import FakeRanker, run_in_virtual_time
from blender_core.types.result import BlendResult

EVERY_S, HOUR_S = 5.0, 3600.0


class Scripted(Member):
    """Answers after a random latency, unless its fault says otherwise."""

    def __init__(self, name: str, rng: random.Random, fault: Callable[[float], str] = lambda now: "") -> None:
        super().__init__(name)
        self._rng = rng
        self._fault = fault

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Hang, refuse, or answer after 1 to 3 s."""
        fault = self._fault(asyncio.get_running_loop().time())
        if fault == "hangs":
            await asyncio.sleep(HOUR_S)
        if fault == "refuses":
            raise ConnectionError("refused")
        await asyncio.sleep(self._rng.uniform(1, 3))
        return Answer(f"the answer of {self.name}")


def faults(rng: random.Random) -> dict[str, Callable[[float], str]]:
    """Kind of fault -> what happens to a call that begins at a time."""
    return {
        "hangs": lambda now: "hangs",
        "refuses connections": lambda now: "refuses",
        "hangs for 10 minutes, then works": lambda now: "hangs" if now < 600 else "",
        "refuses 10% of its calls": lambda now: "refuses" if rng.random() < 0.1 else "",
        "refuses 30% of its calls": lambda now: "refuses" if rng.random() < 0.3 else "",
    }


def settings(seed: int) -> dict[str, dict[str, Any]]:
    """Name -> settings of the blend."""

    def now() -> float:
        return asyncio.get_running_loop().time()

    def reserve() -> list[Member]:
        return [Scripted("reserve", random.Random(seed + 9))]

    rows: dict[str, dict[str, Any]] = {"nothing": {}, "a reserve": {"reserves": reserve()}}
    for failures in (1, 5):
        rows[f"a breaker, failures={failures}"] = {"breaker": CircuitBreaker(failures, clock=now)}
    rows["a breaker (5) and a reserve"] = {"breaker": CircuitBreaker(clock=now), "reserves": reserve()}
    rows["a grace of 2 s after 2 answers"] = {"policy": GatherPolicy(straggler_grace=2, enough=2)}
    return rows


def called(fault: str, given: dict[str, Any], calls: int, seed: int) -> list[BlendResult]:
    """Make the calls of one row."""
    rng = random.Random(seed)
    members = [Scripted("m", rng, faults(rng)[fault]), *(Scripted(name, random.Random(name)) for name in ("a", "b"))]
    blender = Blender(members, ranker=FakeRanker(), fuser=None, rng=rng, **given)

    async def run() -> list[BlendResult]:
        async def one(place: int) -> BlendResult:
            await asyncio.sleep(place * EVERY_S)
            return await blender.ablend("Question?")

        return await asyncio.gather(*map(one, range(calls)))

    return run_in_virtual_time(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=360)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    columns = ("the member", "the blend has", "mean s", "p95 s", "answers a call", "calls that skip the member")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for fault in faults(random.Random()):
        for name, given in settings(arguments.seed).items():
            results = called(fault, given, arguments.calls, arguments.seed)
            seconds = sorted(result.timings.gather for result in results)
            answers = statistics.mean(sum(record.outcome.ok for record in result.candidates) for result in results)
            skipped = sum(bool(result.skipped) for result in results) / len(results)
            p95 = seconds[int(0.95 * len(seconds))]
            print(f"| {fault} | {name} | {statistics.mean(seconds):.1f} | {p95:.1f} | {answers:.2f} | {skipped:.0%} |")


if __name__ == "__main__":
    main()

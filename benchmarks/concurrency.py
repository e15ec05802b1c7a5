"""What a limit of concurrent rankings is worth, and what passes shared by several texts would be.

    python benchmarks/concurrency.py [--blends 64] [--rounds 3]

1. Blends at the same time in one event loop, the members instant, the embedded ranker: with the limit and without one,
   each in a process of its own, in turn. Printed are medians of the rounds: blends a second, the longest gap of a timer
   of 5 ms on that loop, the memory that the process added at its peak, and the threads.
2. The embedded ranker's encoder, one text a pass against several padded to one pass: CPU time, the largest difference
   of a score from that text alone, in units of the spread of the scores.
3. Huge answers (5 MB) with a deadline of 1 s: how late the answer is, and the longest gap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import numpy as np

from blender_core import Blender
from blender_core.rank.embedded import EmbeddedRanker
from blender_core.runtime import threads
from blender_core.testing import FakeMember

WORDS = ("the", "of", "and", "to", "in", "is", "you", "that", "it", "was", "for", "on", "are", "with", "his", "they")
PROMPT = "How do I wrap a present {}, and why does the paper tear?"


def text(words: int, seed: int) -> str:
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(words))


def resident_mb(field: str) -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


async def watched(work: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """Run work beside a timer of 5 ms."""
    longest, most, over = 0.0, 0, False

    async def tick() -> None:
        nonlocal longest, most
        last = time.perf_counter()
        while not over:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            longest, last = max(longest, now - last - 0.005), now
            most = max(most, threading.active_count())

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    await work()
    seconds = time.perf_counter() - began
    over = True
    await ticking
    return {"seconds": seconds, "gap_ms": 1000 * longest, "threads": most}


def blends(count: int, limited: bool) -> dict[str, float]:
    if not limited:
        threads.RANKINGS.limit = threads.RANKINGS._free = 10 * count
    members = [FakeMember(f"m{n}", text(60, n)) for n in range(5)]
    blender = Blender(members, ranker="embedded", fuser=None)

    async def work() -> None:
        await asyncio.gather(*(blender.ablend(PROMPT.format(n)) for n in range(count)))

    async def main() -> dict[str, float]:
        await blender.ablend("warm")
        before = resident_mb("VmRSS")
        found = await watched(work)
        return {**found, "added_mb": resident_mb("VmHWM") - before, "blends_a_second": count / found["seconds"]}

    return asyncio.run(main())


def huge() -> None:
    found = asyncio.run(watched(lambda: asyncio.sleep(2.0)))
    print(f"| nothing but the timer | | {found['gap_ms']:.0f} |", flush=True)
    answers = [text(1_300_000, seed) for seed in range(2)]
    members = [FakeMember(f"m{n}", answer) for n, answer in enumerate(answers)]
    for ranker in ("longest", "consensus", "embedded"):
        blender = Blender(members, ranker=ranker, fuser=None, deadline=1.0)
        for way in ("ablend", "astream"):

            async def work(blender: Blender = blender, way: str = way) -> None:
                if way == "ablend":
                    await blender.ablend("Q?")
                else:
                    async for _ in blender.astream("Q?"):
                        pass

            found = asyncio.run(watched(work))
            print(f"| {ranker}, {way} | {found['seconds']:.2f} | {found['gap_ms']:.0f} |", flush=True)


def shared_passes() -> None:
    ranker = EmbeddedRanker.load()
    texts = [text(60 + 6 * (n % 7), n) for n in range(32)]
    layout, tokenizer, window = ranker.settings.layout, ranker._tokenizer, ranker.settings.max_tokens
    prompt = tokenizer.encode(PROMPT, add_special_tokens=False).ids
    rows = [layout.join(prompt, tokenizer.encode(t, add_special_tokens=False).ids, window) for t in texts]

    def scores(size: int) -> list[float]:
        found: list[float] = []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            longest = max(len(row.token_ids) for row in part)
            ids, mask, kinds = (np.zeros((len(part), longest), dtype=np.int64) for _ in range(3))
            for place, row in enumerate(part):
                ids[place, : len(row.token_ids)] = row.token_ids
                mask[place, : len(row.token_ids)] = 1
                kinds[place, row.answer_start : len(row.token_ids)] = 1
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
            found += [float(score) for score in ranker._session.run(None, feeds)[0].reshape(-1)]
        return found

    sizes = (1, 2, 4, 8, 16)
    alone, spent = scores(1), {size: [] for size in sizes}
    for _ in range(5):
        for size in sizes:
            began = time.process_time()
            scores(size)
            spent[size].append(time.process_time() - began)
    base = median(spent[1])
    for size in sizes:
        off = max(abs(one - other) for one, other in zip(alone, scores(size), strict=True)) / float(np.std(alone))
        print(f"| {size} | {median(spent[size]) / base:.2f} | {off:.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blends", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=["limited", "unlimited"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(blends(options.blends, options.part == "limited")))
        return
    rows: dict[str, list[dict[str, float]]] = {"limited": [], "unlimited": []}
    for _ in range(options.rounds):
        for name, found in rows.items():
            command = [sys.executable, __file__, "--part", name, "--blends", str(options.blends)]
            found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    print(f"{options.blends} blends of 5 answers at once; at most {threads.RANKINGS.limit} rankings, or no limit\n")
    print("| rankings | blends a second | longest gap, ms | added memory, MB | threads |\n|---|---|---|---|---|")
    for name, found in rows.items():
        cells = [median(one[key] for one in found) for key in ("blends_a_second", "gap_ms", "added_mb", "threads")]
        print(f"| {name} | " + " | ".join(f"{cell:.3g}" for cell in cells) + " |")
    print("\n| texts in a pass | CPU time, ratio | largest change of a score, in deviations |\n|---|---|---|")
    shared_passes()
    print("\n| 5 MB answers, deadline 1 s | seconds | longest gap, ms |\n|---|---|---|", flush=True)
    huge()


if __name__ == "__main__":
    main()

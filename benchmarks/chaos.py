"""Seeded chaos on virtual time: whatever members, rankers, fusers and callers do, the promises of a blend hold.

Each seed draws the members, their faults, the settings and how each call is ended, and then checks: each call ends
within its deadline; it gives one answer or one error of the tree; its report is JSON; each member has one outcome;
nothing runs on; no slot stays taken; the blender keeps nothing of the call.

    python benchmarks/chaos.py --schedules 10000
    python benchmarks/chaos.py --seed 4711          # replay one, with its story
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields

from faults.promises import Report, run_schedule
from faults.schedule import Schedule

# real seconds after which a schedule is stuck
_STUCK_S = 120


def run_one(seed: int) -> Report:
    faulthandler.dump_traceback_later(_STUCK_S, exit=True)
    try:
        return run_schedule(Schedule.of(seed))
    finally:
        faulthandler.cancel_dump_traceback_later()


def replay(seed: int) -> int:
    schedule = Schedule.of(seed)
    for each in fields(schedule):
        print(f"{each.name:13s} {getattr(schedule, each.name)}")
    report = run_one(seed)
    print(*report.story, sep="\n")
    print(*(f"BROKEN: {line}" for line in report.broken), sep="\n")
    return len(report.broken)


def run_many(first: int, count: int, workers: int) -> int:
    began = time.perf_counter()
    kinds: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    failing = 0
    with ProcessPoolExecutor(workers, initializer=prepare) as pool:
        for report in pool.map(run_one, range(first, first + count), chunksize=50):
            kinds.update(report.kinds)
            sums.update({"fused": report.fusions > 0, "answers": report.answers})
            sums.update({"errors": report.errors, "ended by the caller": report.ended, "fusions": report.fusions})
            failing += bool(report.broken)
            for line in report.broken[:3]:
                print(f"seed {report.seed}: {line}", flush=True)
    print(f"{count} schedules from seed {first} in {time.perf_counter() - began:.0f} s; {failing} broke a promise")
    print(f"fusion was begun in {sums.pop('fused') / count:.0%} of them; calls:", dict(sums))
    print("schedules with:", ", ".join(f"{kind} {number}" for kind, number in kinds.most_common()))
    if failing:
        print("replay one: python benchmarks/chaos.py --seed SEED")
    return failing


def prepare() -> None:
    warnings.simplefilter("error")
    # what is here already is no part of a call, so the search for what a call left is quick
    gc.collect()
    gc.freeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seed", type=int, help="replay this one")
    options = parser.parse_args()
    prepare()
    broken = (
        replay(options.seed)
        if options.seed is not None
        else run_many(options.first, options.schedules, options.workers)
    )
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()

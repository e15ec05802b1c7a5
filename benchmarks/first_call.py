"""How much longer the first call takes than the second: ranker loaded on demand, in the background, beforehand.

    python benchmarks/first_call.py [--rounds 5] [--latency 1.0]

Each number is from a fresh interpreter. The members wait `--latency` seconds and answer. "on demand" loads the ranker
when the answers are there; "background" is what a Blender does; "warm_up" calls it before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

PROGRAM = """
import sys, time
from blender_core import Blender
from blender_core.rank import resolve_ranker

how, latency = sys.argv[1], float(sys.argv[2])

class OnDemand:
    name = "on demand"
    def rank(self, prompt, candidates):
        return resolve_ranker("embedded").rank(prompt, candidates)

def member(text):
    def answer(question):
        time.sleep(latency)
        return text
    return answer

ranker = OnDemand() if how == "on demand" else "embedded"
blender = Blender([member("Paris."), member("Rome.")], ranker=ranker, fuser=None)
if how == "warm_up":
    blender.warm_up()
times = []
for _ in range(2):
    began = time.perf_counter()
    blender.blend("What is the capital of France?")
    times.append(time.perf_counter() - began)
print(times[0], times[1])
"""


def first_and_second(how: str, latency: float) -> tuple[float, float]:
    """Time two calls in a fresh interpreter, in seconds."""
    command = [sys.executable, "-c", PROGRAM, how, str(latency)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = map(float, done.stdout.split())
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=1.0)
    options = parser.parse_args()
    ways = ("on demand", "background", "warm_up")
    first_and_second(ways[0], 0.0)  # fills the file cache
    extra: dict[str, list[float]] = {how: [] for how in ways}
    for _ in range(options.rounds):
        for how in ways:
            first, second = first_and_second(how, options.latency)
            extra[how].append(first - second)
    medians = {how: round(statistics.median(values), 3) for how, values in extra.items()}
    ratios = {how: round(medians[how] / medians["on demand"], 2) for how in ways}
    print(json.dumps({"latency_s": options.latency, "first_minus_second_s": medians, "ratio": ratios}, indent=2))


if __name__ == "__main__":
    main()

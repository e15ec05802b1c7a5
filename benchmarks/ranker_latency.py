"""How long a ranking takes: CPU milliseconds at one thread, rankers in turn, so that a busy machine hits all alike.

    python benchmarks/ranker_latency.py [--ranker NAME_OR_FOLDER ...] [--rounds 15]

Four answers, once short (20 words) and once long enough to fill the embedded ranker's window. The median of the rounds,
after one that is not counted; ``load`` is the time until the first ranking is done, less one ranking.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import resolve_ranker

TEXT = "the ranker reads a prompt and an answer of several models and says how good it is for this one"
PROMPT = "Explain to a new colleague how answers of several models are compared."


def answers(words: int) -> list[str]:
    every = TEXT.split()
    return [" ".join(every[(start + i) % len(every)] for i in range(words)) for start in range(4)]


def milliseconds(ranker: Ranker, texts: list[str]) -> float:
    begun = time.process_time()
    ranker.rank(PROMPT, texts)
    return 1000 * (time.process_time() - begun)


def loaded(name: str) -> Ranker:
    return EmbeddedRanker.load() if name == "embedded" else resolve_ranker(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranker", action="append", help="name or folder; default embedded and consensus")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    short, long = answers(20), answers(320)
    rankers: dict[str, Ranker] = {}
    loads: dict[str, float] = {}
    for name in options.ranker or ["embedded", "consensus"]:
        begun = time.process_time()
        rankers[name] = loaded(name)
        first = milliseconds(rankers[name], short)
        loads[name] = 1000 * (time.process_time() - begun) - min(first, milliseconds(rankers[name], short))
    found = {name: [[milliseconds(ranker, texts) for texts in (short, long)]] for name, ranker in rankers.items()}
    for _ in range(options.rounds):
        for name, ranker in rankers.items():
            found[name].append([milliseconds(ranker, texts) for texts in (short, long)])
    print("| ranker | load, ms | four short answers, ms | four long answers, ms |\n|---|---|---|---|")
    for name, rows in found.items():
        cells = [f"{median(column):.1f}" for column in zip(*rows[1:], strict=True)]
        print(f"| {name} | {loads[name]:.0f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

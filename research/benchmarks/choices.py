"""What choices between runs of the ranker are made on: 320 prompts of ``train/alpacaeval``, five answers each.

    python research/benchmarks/choices.py --data DIR [--ranker FOLDER ...]

``encoder alone`` leaves the agreement between the answers out. Pairs at least 0.3 apart count; every prompt weighs the
same in the accuracy, and every pair in the columns after it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from reward_heads import SMALLEST_GAP, Judged, judged_sets

from blender_core.rank.embedded import EmbeddedRanker
from blender_core.text.distinct import distinct_candidates


def row(prompts: Sequence[Judged], scores: Sequence[Sequence[float]]) -> str:
    accuracy: list[float] = []
    shorter: list[float] = []
    longer: list[float] = []
    picks: list[float] = []
    for prompt, found in zip(prompts, scores, strict=True):
        own = []
        for i, one in enumerate(prompt.scores):
            for j, other in enumerate(prompt.scores):
                if one - other >= SMALLEST_GAP:
                    own.append(float(found[i] > found[j]))
                    side = shorter if len(prompt.answers[i]) < len(prompt.answers[j]) else longer
                    side.append(own[-1])
        if own:
            accuracy.append(fmean(own))
        picks.append(prompt.scores[max(range(len(found)), key=found.__getitem__)])
    return " | ".join(f"{100 * fmean(part):.1f}" for part in (accuracy, shorter, longer)) + f" | {fmean(picks):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ranker", action="append", help="folder of an exported ranker; default the one that ships")
    options = parser.parse_args()
    prompts = judged_sets(options.data)["judged"]
    print("| | pair accuracy | where the shorter is better | where the longer is | pick |\n|---|---|---|---|---|")
    for folder in options.ranker or [None]:
        ranker = EmbeddedRanker.load(folder)
        alone, whole = [], []
        for prompt in prompts:
            distinct = distinct_candidates(prompt.answers)
            alone.append(distinct.spread_scores(ranker.score(prompt.prompt, distinct.texts)[0]))
            whole.append(ranker.rank(prompt.prompt, prompt.answers).scores)
        print(f"| {folder or 'shipped'}, encoder alone | {row(prompts, alone)} |")
        print(f"| {folder or 'shipped'}, whole ranking | {row(prompts, whole)} |", flush=True)


if __name__ == "__main__":
    main()

"""What a member prior is worth: mean score of the pick on the blend sets without it, learned on the way, and judged.

    python benchmarks/member_prior.py --data DIR [--ranker embedded] [--set blend_open11 ...]

``judged n``: n prompts are drawn and their scores told to the prior (``judge_answers``), as a user would judge a few
prompts; the pick is measured on the others. ``best judged``: what one would do with these scores alone: take the member
that did best on the n prompts. Means over 10 draws, the same for both; ± is their standard deviation.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev

from blender_core import MemberPrior
from blender_core.rank.registry import resolve_ranker
from blender_core.types.ranking import Ranking
from blender_lab.data.preferences import PreferenceRecord, read_records

SETS = ("blend_open11", "blend_arena_bench", "blend_mmlu_pro", "blend_zeroeval")
JUDGED = (5, 10, 20, 40)
DRAWS = 10
# of the scale: a smaller difference is no verdict
SMALLEST_GAP = 0.1

Ranked = tuple[PreferenceRecord, Ranking]


def picks(ranked: Sequence[Ranked], prior: MemberPrior) -> float:
    """Mean score of the pick; the prior learns from each prompt after it was ranked."""
    scores = []
    for record, ranking in ranked:
        blended = prior.blend(record.models, ranking, record.candidates)
        prior.observe(record.models, ranking)
        scores.append(score(record, blended.best))
    return fmean(scores)


def score(record: PreferenceRecord, index: int) -> float:
    assert record.scores is not None
    return record.scores[index]


def best_member(judged: Sequence[PreferenceRecord], others: Sequence[Ranked]) -> float:
    """Mean score of the member that did best on the judged prompts; of the ranker's pick where it did not answer."""
    known: dict[str, list[float]] = defaultdict(list)
    for record in judged:
        for index, model in enumerate(record.models):
            known[model].append(score(record, index))
    order = sorted(known, key=lambda model: (-fmean(known[model]), model))
    found = []
    for record, ranking in others:
        chosen = next((record.models.index(model) for model in order if model in record.models), ranking.best)
        found.append(score(record, chosen))
    return fmean(found)


def rows(ranked: Sequence[Ranked]) -> list[tuple[str, str, str]]:
    scale = max(max(record.scores or (0.0,)) for record, _ in ranked)
    table = [
        ("no prior", f"{fmean(score(record, ranking.best) for record, ranking in ranked):.3f}", ""),
        ("learned on the way", f"{picks(ranked, MemberPrior()):.3f}", ""),
    ]
    for count in JUDGED:
        if count * 2 > len(ranked):
            continue
        with_prior, alone = [], []
        for draw in range(DRAWS):
            chosen = set(random.Random(draw).sample(range(len(ranked)), count))
            others = [item for index, item in enumerate(ranked) if index not in chosen]
            judged = [ranked[index][0] for index in sorted(chosen)]
            prior = MemberPrior()
            for record, ranking in (ranked[index] for index in sorted(chosen)):
                prior.judge_answers(record.models, ranking, record.scores or (), smallest_gap=SMALLEST_GAP * scale)
                prior.observe(record.models, ranking)
            with_prior.append(picks(others, prior))
            alone.append(best_member(judged, others))
        table.append(
            (
                f"judged {count}",
                f"{fmean(with_prior):.3f} ± {pstdev(with_prior):.3f}",
                f"{fmean(alone):.3f} ± {pstdev(alone):.3f}",
            )
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ranker", default="embedded")
    parser.add_argument("--set", action="append", choices=SETS)
    options = parser.parse_args()
    ranker = resolve_ranker(options.ranker)
    print(f"| set | prior | pick of {ranker.name} with it | best judged |")
    print("|---|---|---|---|")
    for name in options.set or SETS:
        records = list(read_records(options.data / "eval" / f"{name}.jsonl.gz"))
        ranked = [(record, ranker.rank(record.prompt, record.candidates)) for record in records]
        for prior, pick, alone in rows(ranked):
            print(f"| {name} | {prior} | {pick} | {alone} |", flush=True)


if __name__ == "__main__":
    main()

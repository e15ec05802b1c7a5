"""What a second stage could bring: the best that a judge of the leaders could do after the first ranker.

    python research/benchmarks/two_stages.py --data DIR [--ranker embedded] [--second reward-head]

The first ranker orders all candidates; the leaders are the first k. Printed for each k: the mean score of a random
leader, of the longest one, of the best one (no second stage can do better), and with ``--second`` of the one that
another ranker puts first among them. It sees all candidates once; of a ranker that compares pairs, only the
comparisons between leaders count, and their mean logit decides as in ``PairRanker``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from blender_core.rank.comparisons import max_logits
from blender_core.rank.registry import resolve_ranker
from blender_core.types.ranking import Ranking
from blender_lab.data.preferences import PreferenceRecord, read_records

LEADERS = (1, 2, 3, 4, 6, 11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="blend_open11")
    parser.add_argument("--ranker", default="embedded")
    parser.add_argument("--second", help="name or checkpoint of the ranker of the leaders")
    options = parser.parse_args()
    first = resolve_ranker(options.ranker)
    second = resolve_ranker(options.second) if options.second else None
    records = list(read_records(options.data / "eval" / f"{options.set}.jsonl.gz"))
    seconds = [second.rank(record.prompt, record.candidates) for record in records] if second else []
    orders = [
        sorted(range(len(record.candidates)), key=lambda i, scores=ranking.scores: -scores[i])  # type: ignore[misc]
        for record in records
        for ranking in [first.rank(record.prompt, record.candidates)]
    ]
    print("| leaders | random one | longest one | best one |" + (f" {second.name} |" if second else ""))
    print("|---" * (5 if second else 4) + "|")
    for count in LEADERS:
        rows = []
        for number, (record, order) in enumerate(zip(records, orders, strict=True)):
            leaders = order[:count]
            scores = scores_of(record, leaders)
            row = [
                fmean(scores),
                scores[max(range(len(leaders)), key=lambda i: len(record.candidates[leaders[i]]))],
                max(scores),
            ]
            if second is not None:
                judged = scores_among(seconds[number], leaders)
                row.append(scores[max(range(len(leaders)), key=judged.__getitem__)])
            rows.append(row)
        print(f"| {count} | " + " | ".join(f"{fmean(column):.3f}" for column in zip(*rows, strict=True)) + " |")


def scores_among(ranking: Ranking, leaders: list[int]) -> Sequence[float]:
    if ranking.comparisons is None:
        return [ranking.scores[i] for i in leaders]
    scores = max_logits([[ranking.comparisons[i][j] for j in leaders] for i in leaders])
    # a blank answer is compared with nothing
    return [
        min(score, ranking.scores[i]) if math.isinf(ranking.scores[i]) else score
        for score, i in zip(scores, leaders, strict=True)
    ]


def scores_of(record: PreferenceRecord, indices: list[int]) -> list[float]:
    assert record.scores is not None
    return [record.scores[i] for i in indices]


if __name__ == "__main__":
    main()

r"""Pairs that the project makes itself: answers of small local models beside those of models known to be stronger.

    python benchmarks/made_pairs/made_pairs.py prompts --data DIR --out prompts.jsonl
    blended-llm mix prompts.jsonl --out answers.jsonl --model smollm2-135m --model gemma-3-270m \
        --model qwen2.5-coder-0.5b --max-tokens 160
    python benchmarks/made_pairs/made_pairs.py keep --answers answers.jsonl
    python benchmarks/made_pairs/made_pairs.py pairs --data DIR --out made.jsonl.gz

Prompts: the open-ended ones that weights which ship may be trained on (``arena_bench`` and ``just_eval``). ``keep``
writes the local answers, without the prompts, beside this file; ``pairs`` joins them with the data folder again, into
the record format that ``train ranker`` reads. Labels are weak: they say which model is the stronger one. Between
local models the label is how often the one was right where the other was wrong on the live ensemble's prompts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from blender_lab.data.mixinstruct import read_mix
from blender_lab.data.preferences import PreferenceRecord, read_records

HERE = Path(__file__).parent
KEPT = HERE / "local_answers.jsonl.gz"
LIVE = HERE.parent / "live_ensemble" / "answers.jsonl.gz"
SOURCES = (("train/arena_bench.jsonl.gz", "arena_bench_v1"), ("weak/weak_labels.jsonl.gz", "just_eval_weak"))
LONGEST_PROMPT = 2000  # characters
STRONG_SCORE = 5.0  # of GPT-4's 1 to 10; below, a candidate is not known to be better than a small model's
# not 1: a small model is right now and then where a large one is not
STRONGER = 0.94
STRONG_CANDIDATES = 5


def open_records(data: Path) -> Iterator[PreferenceRecord]:
    """The prompts in an order that mixes the sources, so that a part of them is a fair part."""
    records = [
        record
        for file, source in SOURCES
        for record in read_records(data / file, sources=[source])
        if len(record.prompt) <= LONGEST_PROMPT
    ]
    random.Random(0).shuffle(records)
    yield from records


def key(record: PreferenceRecord) -> str:
    return f"{record.source}/{record.id}"


def write_prompts(data: Path, out: Path) -> None:
    with out.open("w", encoding="utf-8") as file:
        for record in open_records(data):
            file.write(json.dumps({"id": key(record), "instruction": record.prompt}, ensure_ascii=False) + "\n")


def keep_answers(answers: Path) -> None:
    count = 0
    with gzip.GzipFile(KEPT, "wb", mtime=0) as file:
        for record in read_mix(answers):
            texts = {candidate.model: candidate.text for candidate in record.candidates if candidate.text.strip()}
            if texts:
                count += len(texts)
                file.write((json.dumps({"id": record.id, "answers": texts}, ensure_ascii=False) + "\n").encode())
    print(count, "answers kept in", KEPT.name)


def local_odds() -> dict[tuple[str, str], float]:
    """For two local models the share of prompts on which the first was the right one, of those where one was."""
    won: dict[tuple[str, str], list[int]] = {}
    for record in read_mix(LIVE):
        for one, other in combinations(record.candidates, 2):
            right, wrong = one.scores["check"], other.scores["check"]
            if right != wrong:
                won.setdefault((one.model, other.model), []).append(int(right > wrong))
                won.setdefault((other.model, one.model), []).append(int(right < wrong))
    return {pair: sum(found) / len(found) for pair, found in won.items()}


def joined(record: PreferenceRecord, answers: dict[str, str], odds: dict[tuple[str, str], float]) -> dict[str, Any]:
    """The record's strong candidates with the local answers, and the pairs between them."""
    strong = [i for i, text in enumerate(record.candidates) if text.strip()]
    if record.scores is not None:
        strong = [i for i in strong if record.scores[i] >= STRONG_SCORE]
    random.Random(key(record)).shuffle(strong)
    strong = strong[:STRONG_CANDIDATES]
    names = sorted(answers)
    candidates = [(record.models[i], record.candidates[i]) for i in strong] + [(name, answers[name]) for name in names]
    comparisons: list[Sequence[Any]] = [
        (i, len(strong) + j, STRONGER) for i in range(len(strong)) for j in range(len(names))
    ]
    for (i, one), (j, other) in combinations(enumerate(names), 2):
        if answers[one] != answers[other]:
            comparisons.append((len(strong) + i, len(strong) + j, round(odds[one, other], 3)))
    return {
        "id": key(record),
        "source": "made",
        "instruction": record.prompt,
        "candidates": [{"model": model, "text": text} for model, text in candidates],
        "comparisons": comparisons,
    }


def write_pairs(data: Path, out: Path) -> None:
    with gzip.open(KEPT, "rt", encoding="utf-8") as file:
        local = {row["id"]: row["answers"] for row in map(json.loads, file)}
    odds, rows = local_odds(), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(out, "wt", encoding="utf-8") as file:
        for record in open_records(data):
            if key(record) in local:
                row = joined(record, local[key(record)], odds)
                rows += len(row["comparisons"])
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(rows, "pairs in", out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("prompts", "pairs"):
        command = commands.add_parser(name)
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
    commands.add_parser("keep").add_argument("--answers", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "prompts":
        write_prompts(options.data, options.out)
    elif options.what == "keep":
        keep_answers(options.answers)
    else:
        write_pairs(options.data, options.out)


if __name__ == "__main__":
    main()

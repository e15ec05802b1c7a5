r"""Pairs that differ in the fact alone, and answers to the most similar other prompt.

    python benchmarks/made_pairs/fact_pairs.py facts --out DIR/made/facts.jsonl.gz
    python benchmarks/made_pairs/fact_pairs.py near --data DIR --out DIR/made/near.jsonl.gz

``facts`` writes none of the relations that the evaluation set ``fact_swap`` holds. ``near`` sets answers to a prompt
against answers to one of the three prompts that are most like it, by all-MiniLM-L6-v2 (downloaded once).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from made_pairs import SOURCES

from blender_core.models.text_encoder import local_text_encoder
from blender_lab.data.fact_swaps import fact_swap_records
from blender_lab.data.preferences import PreferenceRecord, read_records, split_development

PER_RELATION = 150
LONGEST_PROMPT = 1500  # characters
ANSWERS = 2  # of each of the two prompts
NEIGHBOURS = 3
SAME_QUESTION = 0.93  # cosine: above, the neighbour's answer may be right
OFF_TOPIC = 0.97
HELD_OUT, SEED = 0.08, 0  # as in the recipes: what they hold out is not made into pairs


def facts() -> Iterator[dict[str, Any]]:
    for record in fact_swap_records(held_out=False, per_relation=PER_RELATION, seed=SEED, tails=True):
        yield row(record.id, record.prompt, record.candidates, record.comparisons)


def near(data: Path) -> Iterator[dict[str, Any]]:
    records: list[PreferenceRecord] = []
    for file, source in SOURCES:
        kept = split_development(read_records(data / file, sources=[source]), HELD_OUT, SEED)[0]
        records += [record for record in kept if len(record.prompt) <= LONGEST_PROMPT]
    vectors = local_text_encoder()([record.prompt for record in records])
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1.0)
    rng = random.Random(SEED)
    for index, record in enumerate(records):
        nearest = np.argsort(-likeness[index])[:NEIGHBOURS]
        usable = [int(other) for other in nearest if likeness[index, other] < SAME_QUESTION]
        if not usable:
            continue
        other = records[rng.choice(usable)]
        own, foreign = (
            rng.sample([text for text in one.candidates if text.strip()], ANSWERS) for one in (record, other)
        )
        pairs = [(i, ANSWERS + j, OFF_TOPIC) for i in range(ANSWERS) for j in range(ANSWERS)]
        yield row(f"{record.source}/{record.id}", record.prompt, [*own, *foreign], pairs)


def row(key: str, prompt: str, texts: Iterable[str], pairs: Iterable[Any]) -> dict[str, Any]:
    return {
        "id": key,
        "source": "made",
        "instruction": prompt,
        "candidates": [{"text": text} for text in texts],
        "comparisons": [list(pair) for pair in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["facts", "near"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = list(facts() if options.what == "facts" else near(options.data))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(options.out, "wb", mtime=0) as file:
        for one in rows:
            file.write((json.dumps(one, ensure_ascii=False) + "\n").encode())
    print(len(rows), "records in", options.out)


if __name__ == "__main__":
    main()

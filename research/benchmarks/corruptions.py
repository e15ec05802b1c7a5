"""Does a ranker see that an answer was made worse? Held-out answers beside worsened copies of themselves.

    python research/benchmarks/corruptions.py --data DIR [--ranker FOLDER ...]

The best answer to each held-out prompt (at most 40 a source), against its own copy: contradicted, cut short, with other
numbers, repeated, shuffled; and against what stands in its place: the best answer to the source's next prompt
(``off_topic``), or a refusal. Encoder alone. Printed is the share of the copies that score below their original.
"""

from __future__ import annotations

import argparse
import importlib.resources
from pathlib import Path

import numpy as np

from blender_core.rank.embedded import EmbeddedRanker
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.corruption import CORRUPTIONS, REFUSALS
from blender_lab.ranker.one_pass import known_tokens, load_tokenizer
from blender_lab.ranker.train import source_records, source_targets

RECIPE = Path(__file__).parents[1] / "blender_lab" / "recipes" / "embedded.toml"
MOST, SHORTEST = 40, 12


def best_answers(data: Path) -> list[tuple[str, str, str]]:
    """Prompt and best answer of held-out records, and the best answer to the source's next prompt."""
    config = RankerTrainingConfig.load(RECIPE)
    found = []
    for source in config.sources.values():
        own = []
        records = source_records(config, source, data)[1][:MOST]
        for record, targets in zip(records, source_targets(source, records), strict=True):
            wins = np.zeros(len(record.candidates))
            for i, j, p in targets:
                wins[i] += p
                wins[j] += 1.0 - p
            own.append((record.prompt, record.candidates[int(wins.argmax())]))
        found += [(*one, other) for one, (_, other) in zip(own, [*own[1:], *own[:1]], strict=True)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ranker", action="append", help="folder of an exported ranker; default the one that ships")
    options = parser.parse_args()
    with importlib.resources.as_file(importlib.resources.files("blender_core.rank") / "embedded_weights") as folder:
        tokenizer = load_tokenizer(folder / "tokenizer.json")
    known = known_tokens(tokenizer)
    best = [
        (prompt, text, other, ids)
        for prompt, text, other in best_answers(options.data)
        if len(ids := tokenizer.encode(text, add_special_tokens=False).ids) >= SHORTEST
    ]
    answers = [(prompt, ids) for prompt, *_, ids in best]
    rng = np.random.default_rng(0)
    # an answer without such a token would be cut short instead
    needed = {"change_numbers": known.numbers, "contradict": list(known.opposites)}
    # the copy goes through the same decoding as the original, so that only the change differs
    pairs = {
        kind: [
            (prompt, tokenizer.decode(ids), tokenizer.decode(worsen(ids, rng, known)))
            for prompt, ids in answers
            if set(ids).intersection(needed.get(kind, ids))
        ]
        for kind, worsen in sorted(CORRUPTIONS.items())
    }
    pairs["off_topic"] = [(prompt, text, other) for prompt, text, other, _ in best]
    pairs["refusal"] = [(prompt, text, str(rng.choice(REFUSALS))) for prompt, text, *_ in best]
    print("| | " + " | ".join(f"{kind}, {len(rows)}" for kind, rows in pairs.items()) + " |")
    print("|---" * (1 + len(pairs)) + "|")
    for name in options.ranker or [None]:
        ranker = EmbeddedRanker.load(name)
        cells = []
        for rows in pairs.values():
            scores = [ranker.score(prompt, [original, copy])[0] for prompt, original, copy in rows]
            cells.append(f"{100 * np.mean([first > second for first, second in scores]):.1f}")
        print(f"| {name or 'shipped'} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

"""What the embedded ranker's window costs, and whether keeping the end of a long text helps.

    python research/benchmarks/embedded_window.py --data DIR

The encoder alone (no agreement among candidates) on held-out prompts of the training sources, so nothing is tuned on
an evaluation set. ``cut`` is the share of answers that lose tokens; pairs count where at least one of the two is cut at
the smallest window.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from blender_core.models.sentence_encoder import SentenceEncoder
from blender_core.rank.embedded import EmbeddedRanker
from blender_lab import RankerTrainingConfig
from blender_lab.ranker.targets import pair_targets
from blender_lab.ranker.train import source_records

RECIPE = Path(__file__).parents[1] / "blender_lab" / "recipes" / "embedded.toml"
WINDOWS = (128, 192, 256, 320, 512)


def variants(ranker: EmbeddedRanker) -> dict[str, EmbeddedRanker]:
    """Rankers that differ in the window and in what is kept of a long text."""
    settings = ranker.settings
    made = {f"{window}, beginning and end": replace(settings, max_tokens=window) for window in WINDOWS}
    heads = replace(settings.layout, prompt_head=1.0, answer_head=1.0)
    made |= {f"{window}, beginning only": replace(settings, max_tokens=window, layout=heads) for window in (128, 320)}
    own = SentenceEncoder.load()
    return {
        name: EmbeddedRanker(ranker._session, ranker._tokenizer, found, sentence_encoder=own)
        for name, found in made.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--records", type=int, default=40, help="most held-out prompts a source")
    options = parser.parse_args()
    config = RankerTrainingConfig.load(RECIPE)
    held_out: list[tuple[Any, list[Any]]] = []
    for name in ("arena_bench", "zeroeval"):
        records = source_records(config, config.sources[name], options.data)[1][: options.records]
        held_out += [(record, [pair for pair in pair_targets(record) if pair[2] != 0.5]) for record in records]
    rankers = variants(EmbeddedRanker.load())
    narrow = rankers[f"{WINDOWS[0]}, beginning and end"]
    long = [set(narrow.score(record.prompt, record.candidates)[1]) for record, _ in held_out]
    print(
        "| window in tokens, what is kept | answers cut | pair accuracy, long answers | all pairs |\n|---|---|---|---|"
    )
    for name, ranker in rankers.items():
        right = {True: 0, False: 0}
        seen = {True: 0, False: 0}
        cut = total = 0
        for (record, pairs), long_ones in zip(held_out, long, strict=True):
            scores, lost = ranker.score(record.prompt, record.candidates)
            cut += sum(index >= 0 for index in lost)
            total += len(scores)
            for i, j, p in pairs:
                is_long = i in long_ones or j in long_ones
                seen[is_long] += 1
                right[is_long] += (scores[i] > scores[j]) == (p > 0.5)
        share = (right[True] + right[False]) / (seen[True] + seen[False])
        print(
            f"| {name} | {cut / total:.0%} | {right[True] / seen[True]:.3f} of {seen[True]} | {share:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()

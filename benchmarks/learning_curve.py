"""What do more pairs bring, and what does a larger encoder? Fine-tuning on growing parts of the training prompts.

    python benchmarks/learning_curve.py --data DIR --out FOLDER [--encoder FOLDER ...] [--part 64 ...] [--steps 125]

The recipe is ``embedded.toml`` without its teacher; every run makes the same number of steps, so it reads about as many
rows. A part of 64 is a 64th of each source's training prompts, and lies in the part of 16. Measured on held-out prompts
of the sources, and of ``train/alpacaeval``, which no run learns from. A finished run is not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from blender_core.train.config import RankerTrainingConfig, SourceConfig
from blender_core.train.ranker import source_records, source_targets, train_ranker

RECIPE = Path(__file__).parents[1] / "blender_core" / "train" / "recipes" / "embedded.toml"
UNSEEN = SourceConfig("train/alpacaeval.jsonl.gz", share=0.0, smallest_gap=0.3)


def run_settings(encoder: str, part: int, steps: int, out: Path, data: Path) -> RankerTrainingConfig:
    recipe = RankerTrainingConfig.load(RECIPE)
    sources = {}
    for name, source in recipe.sources.items():
        count = len(source_records(recipe, source, data)[0])
        sources[name] = replace(source, records=max(2, -(-count // part)))
    return replace(
        recipe,
        encoder=encoder,
        output=str(out / f"{Path(encoder).name}-{part}-{steps}"),
        sources={**sources, "alpacaeval": UNSEEN},
        teacher=None,
        steps=steps,
        minutes=0.0,
        evaluate_every=10 * steps,
        development_records=60,
    )


def amounts(config: RankerTrainingConfig, data: Path) -> tuple[int, int]:
    """Prompts and pairs that a run learns from."""
    prompts = pairs = 0
    for name, source in config.sources.items():
        if source.share > 0:
            records = source_records(replace(config, sources={name: source}), source, data)[0]
            prompts += len(records)
            pairs += sum(map(len, source_targets(source, records)))
    return prompts, pairs


def measured(config: RankerTrainingConfig, data: Path) -> dict[str, float]:
    """Held-out accuracy by source, and the rows that were read."""
    result = Path(config.output) / "curve.json"
    if not result.is_file():
        trained = train_ranker(config, data=data)
        last = (Path(config.output) / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()[-1]
        found = {"rows": trained.sequences, "minutes": trained.seconds / 60.0}
        result.write_text(json.dumps(json.loads(last) | found), encoding="utf-8")
    return json.loads(result.read_text(encoding="utf-8"))


def table(encoders: Sequence[str], parts: Sequence[int], steps: int, out: Path, data: Path) -> None:
    names = [*RankerTrainingConfig.load(RECIPE).sources, "alpacaeval"]
    print("| encoder | prompts | pairs | rows read | minutes | " + " | ".join(names) + " | mean |")
    print("|---" * (6 + len(names)) + "|")
    for encoder in encoders:
        for part in parts:
            config = run_settings(encoder, part, steps, out, data)
            found = measured(config, data)
            prompts, pairs = amounts(config, data)
            cells = [Path(encoder).name, f"{prompts:,}", f"{pairs:,}", f"{found['rows']:,}", f"{found['minutes']:.1f}"]
            print(row(cells, [found[name] for name in names]), flush=True)
    config = run_settings(encoders[0], 1, steps, out, data)
    print(row(["the longer answer", "-", "-", "-", "-"], [longer_wins(config, name, data) for name in names]))


def row(cells: Sequence[str], accuracies: Sequence[float]) -> str:
    percent = [f"{100 * value:.1f}" for value in (*accuracies, fmean(accuracies))]
    return "| " + " | ".join([*cells, *percent]) + " |"


def longer_wins(config: RankerTrainingConfig, name: str, data: Path) -> float:
    """Accuracy of length on the pairs that the runs are measured on."""
    source = config.sources[name]
    records = source_records(config, source, data)[1][: config.development_records]
    right = [
        (len(record.candidates[i]) > len(record.candidates[j])) == (p > 0.5)
        for record, targets in zip(records, source_targets(source, records), strict=True)
        for i, j, p in targets
        if p != 0.5 and len(record.candidates[i]) != len(record.candidates[j])
    ]
    return fmean(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", action="append", help="default: encoders/all-MiniLM-L6-v2")
    parser.add_argument("--part", type=int, action="append", help="default: 64, 16, 4 and 1")
    parser.add_argument("--steps", type=int, default=125)
    options = parser.parse_args()
    encoders = options.encoder or ["encoders/all-MiniLM-L6-v2"]
    if len({Path(encoder).name for encoder in encoders}) < len(encoders):
        parser.error("two encoders have folders of the same name, which their runs would share")
    table(encoders, options.part or [64, 16, 4, 1], options.steps, options.out, options.data)


if __name__ == "__main__":
    main()

"""What do more pairs bring, and what does a larger encoder? Fine-tuning on growing parts of the training prompts.

    python research/benchmarks/learning_curve.py --data DIR --out FOLDER [--encoder FOLDER ...] [--part 64 ...]

The recipe is ``embedded.toml`` without its teacher; every run makes the same number of steps, so it reads about as many
rows. A part of 64 is a 64th of each source's training prompts, and lies in the part of 16. Measured on held-out prompts
of the sources, and of ``train/alpacaeval``, which no run learns from; and on the public sets whose goals are open, by
the encoder alone as it is exported (int8). A finished run is not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from blender_core.rank.baselines import LongestRanker
from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.protocol import Ranker
from blender_lab.data.preferences import read_records
from blender_lab.ranker.config import RankerTrainingConfig, SourceConfig
from blender_lab.ranker.export import encoder_folder, load_scorer, write_ranker
from blender_lab.ranker.finish import chosen_checkpoint
from blender_lab.ranker.loop import load_average
from blender_lab.ranker.one_pass import load_tokenizer, segment_layout
from blender_lab.ranker.train import source_records, source_targets, train_ranker

PUBLIC_PAIRS = ("autoj", "hhh", "llmbar")
PUBLIC_BLENDS = ("blend_open11",)
RECIPE = Path(__file__).parents[1] / "blender_lab" / "recipes" / "embedded.toml"
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


def exported(config: RankerTrainingConfig) -> EmbeddedRanker:
    """The encoder of a finished run, alone."""
    folder = Path(config.output) / "export"
    if not (folder / "ranker.json").is_file():
        encoder = encoder_folder(config)
        model = load_scorer(encoder, config)
        load_average([chosen_checkpoint(config)], model)
        tokenizer_file = encoder / "tokenizer.json"
        layout = segment_layout(load_tokenizer(tokenizer_file))
        write_ranker(model, tokenizer_file, layout, folder, max_tokens=config.largest_window).unlink()
    return EmbeddedRanker.load(folder)


def public_numbers(ranker: Ranker, data: Path) -> dict[str, float]:
    """Accuracy on the pair sets, mean score of the pick on the blend sets."""
    found = {}
    for name in PUBLIC_PAIRS:
        right = []
        for record in read_records(data / "eval" / f"{name}.jsonl.gz"):
            for i, j, p in record.comparisons:
                if p != 0.5:
                    one, other = ranker.rank(record.prompt, [record.candidates[i], record.candidates[j]]).scores
                    right.append(0.5 if one == other else float((one > other) == (p > 0.5)))
        found[name] = fmean(right)
    for name in PUBLIC_BLENDS:
        picks = [
            record.scores[ranker.rank(record.prompt, record.candidates).best]
            for record in read_records(data / "eval" / f"{name}.jsonl.gz")
            if record.scores is not None
        ]
        found[name] = fmean(picks)
    return found


def measured_in_public(config: RankerTrainingConfig, data: Path) -> dict[str, float]:
    """The same of a run, kept beside it."""
    result = Path(config.output) / "public.json"
    if not result.is_file():
        result.write_text(json.dumps(public_numbers(exported(config), data)), encoding="utf-8")
    found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return found


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
    headings = ["encoder", "prompts", "pairs", "rows read", "minutes", *names, "mean", *PUBLIC_PAIRS, *PUBLIC_BLENDS]
    print("| " + " | ".join(headings) + " |")
    print("|---" * len(headings) + "|")
    for encoder in encoders:
        for part in parts:
            config = run_settings(encoder, part, steps, out, data)
            found = measured(config, data)
            prompts, pairs = amounts(config, data)
            cells = [Path(encoder).name, f"{prompts:,}", f"{pairs:,}", f"{found['rows']:,}", f"{found['minutes']:.1f}"]
            print(row(cells, [found[name] for name in names], measured_in_public(config, data)), flush=True)
    config = run_settings(encoders[0], 1, steps, out, data)
    longer = [longer_wins(config, name, data) for name in names]
    print(row(["the longer answer", "-", "-", "-", "-"], longer, public_numbers(LongestRanker(), data)))


def row(cells: Sequence[str], accuracies: Sequence[float], public: Mapping[str, float]) -> str:
    shares = [*accuracies, fmean(accuracies), *(public[name] for name in PUBLIC_PAIRS)]
    percent = [f"{100 * value:.1f}" for value in shares]
    return "| " + " | ".join([*cells, *percent, *(f"{public[name]:.3f}" for name in PUBLIC_BLENDS)]) + " |"


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

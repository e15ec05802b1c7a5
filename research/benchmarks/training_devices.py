"""Does one configuration give the same kind of result on another device, or in another precision?

    python research/benchmarks/training_devices.py --data DIR --out FOLDER [--steps 60] [--way cpu:float32:0 ...]

A way is a device, a precision and a seed. Default: the CPU in bfloat16, in float32, and in bfloat16 with another seed;
and every GPU that torch finds, in bfloat16. The recipe is ``embedded.toml`` without its teacher. For each way: held-out
accuracy of the encoder by source, and, against the first way, the share of held-out pairs with the same verdict and the
correlation of the scores within a prompt. The row with another seed says how far two runs lie apart anyway (it holds
out other prompts, so it has learned from some of these): a device whose row lies no farther from the first gives the
same kind of result. A finished run is not made again; a stopped one goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.loop import load_checkpoint
from blender_lab.ranker.one_pass import OnePassForm, score_rows
from blender_lab.ranker.train import build_form, source_records, source_targets, train_ranker

RECIPE = Path(__file__).parents[1] / "blender_lab" / "recipes" / "embedded.toml"
MOST = 25
"""Held-out records a source."""

Scores = dict[str, list[list[float]]]


def default_ways() -> list[str]:
    gpus = [f"cuda:{number}:bfloat16:0" for number in range(torch.cuda.device_count())]
    return ["cpu:bfloat16:0", "cpu:float32:0", *gpus, "cpu:bfloat16:1"]


def run_settings(way: str, encoder: str, steps: int, threads: int, out: Path) -> RankerTrainingConfig:
    device, precision, seed = way.rsplit(":", 2)
    return RankerTrainingConfig.load(RECIPE).replace(
        encoder=encoder,
        output=str(out / f"{way.replace(':', '-')}-{steps}"),
        teacher=None,
        steps=steps,
        minutes=0.0,
        evaluate_every=10 * steps,
        device=device,
        precision=precision,
        seed=int(seed),
        threads=threads,
    )


def held_out_scores(config: RankerTrainingConfig, data: Path) -> Scores:
    """Scores of the trained encoder in float32 on the CPU, by source and prompt; the prompts are those of seed 0."""
    result = Path(config.output) / "scores.json"
    if not result.is_file():
        train_ranker(config, data=data)
        form, texts = build_form(config.replace(device="cpu"))
        assert isinstance(form, OnePassForm)
        load_checkpoint(Path(config.output) / "checkpoint.pt", form.model)
        form.module.eval()
        found: Scores = {}
        for name, source in config.sources.items():
            found[name] = []
            for record in source_records(config.replace(seed=0), source, data)[1][:MOST]:
                prompt, *answers = texts.encode_batch([record.prompt, *record.candidates])
                rows = [form.layout.join(prompt, answer, config.largest_window) for answer in answers]
                with torch.no_grad():
                    found[name].append(score_rows(form.model, rows, tokens_per_batch=4096).tolist())
        result.write_text(json.dumps(found), encoding="utf-8")
    loaded: Scores = json.loads(result.read_text(encoding="utf-8"))
    return loaded


def row(name: str, config: RankerTrainingConfig, found: Scores, first: Scores, data: Path) -> str:
    """One line of the table."""
    cells, same, correlations = [], [], []
    for source_name, source in config.sources.items():
        records = source_records(config.replace(seed=0), source, data)[1][:MOST]
        right = []
        pairs_by_record = source_targets(source, records)
        for own, other, pairs in zip(found[source_name], first[source_name], pairs_by_record, strict=True):
            for i, j, p in pairs:
                if p != 0.5:
                    right.append((own[i] > own[j]) == (p > 0.5))
                    same.append((own[i] > own[j]) == (other[i] > other[j]))
            if min(np.std(own), np.std(other)) > 0.0:
                correlations.append(float(np.corrcoef(own, other)[0, 1]))
        cells.append(f"{100.0 * fmean(right):.1f}")
    cells += [f"{100.0 * fmean(same):.1f}", f"{fmean(correlations):.3f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def table(ways: Sequence[str], encoder: str, steps: int, threads: int, out: Path, data: Path) -> None:
    names = RankerTrainingConfig.load(RECIPE).sources
    headings = ["device:precision:seed", *names, "same verdict as the first", "correlation with the first"]
    print("| " + " | ".join(headings) + " |")
    print("|---" * len(headings) + "|")
    first: Scores | None = None
    for way in ways:
        config = run_settings(way, encoder, steps, threads, out)
        found = held_out_scores(config, data)
        first = first or found
        print(row(way, config, found, first, data), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder that the runs are kept in")
    parser.add_argument("--encoder", default="encoders/all-MiniLM-L6-v2")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", action="append", help="DEVICE:PRECISION:SEED; may be repeated")
    options = parser.parse_args()
    ways = options.way or default_ways()
    table(ways, options.encoder, options.steps, options.threads, options.out, options.data)


if __name__ == "__main__":
    main()

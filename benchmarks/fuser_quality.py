"""A trained fuser against its own inputs: references held out, the guard looked at, what it decides counted.

python benchmarks/fuser_quality.py CONFIG OUT --data FOLDER [--untrained] [--file FILE ...]

OUT receives ``fused-*.jsonl`` (one line a record, so that a killed run goes on) and ``quality.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from blender_core.fuse import FusionGuard, FusionInput
from blender_core.fuse.gen_fuser import GenFuser
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import resolve_ranker
from blender_lab import FuserTrainingConfig
from blender_lab.evaluate.metrics.registry import Metric, resolve_metric
from blender_lab.evaluate.statistics import bootstrap_mean, holm, paired_test
from blender_lab.fuser.base_model import load_base_model
from blender_lab.fuser.examples import FusionRecord, rank_records, top_candidates
from blender_lab.fuser.run import fusion_splits

METRICS = ("rougeL", "chrf", "bleu")
PART = 16


def fused_texts(folder: Path, records: list[FusionRecord], tops: list[tuple[str, ...]], path: Path) -> list[str]:
    """The fuser's text for each record; known ones are read, new ones appended."""
    known = {}
    if path.is_file():
        known = {line["id"]: line["text"] for line in map(json.loads, path.read_text().splitlines())}
    missing = [(record, top) for record, top in zip(records, tops, strict=True) if record.id not in known]
    if missing:
        fuser = GenFuser.from_pretrained(folder, device="cpu", dtype="bfloat16")
    for start in range(0, len(missing), PART):
        part = missing[start : start + PART]
        fused = fuser.fuse_batch([FusionInput(record.prompt, top) for record, top in part], batch_size=8)
        with path.open("a") as file:
            for (record, _), one in zip(part, fused, strict=True):
                known[record.id] = one.text
                file.write(json.dumps({"id": record.id, "text": one.text, "tokens": one.usage.output_tokens}) + "\n")
        print(path.name, start + len(part), "of", len(missing), flush=True)
    return [known[record.id] for record in records]


def cut_to(text: str, other: str) -> str:
    """A text with no more words than another has: a control for the score that shortness alone brings."""
    return " ".join(text.split()[: max(1, len(other.split()))])


def scores(metric: Metric, texts: list[str], records: list[FusionRecord]) -> list[float]:
    return metric.score(texts, [record.reference for record in records])


def measure(
    records: list[FusionRecord],
    tops: list[tuple[str, ...]],
    fused: list[str],
    ranker: Ranker,
    margin: float,
    untrained: list[str] | None = None,
) -> dict[str, Any]:
    """All systems on all metrics, tests against the top-ranked candidate, and the guard's decisions."""
    guard = FusionGuard()
    reasons = [guard.check(text, top) for text, top in zip(fused, tops, strict=True)]
    margins = [ranker_margin(ranker, *row) for row in zip(records, tops, fused, strict=True)]
    first = [top[0] for top in tops]
    systems = {
        "top-ranked candidate": first,
        "top-ranked, cut to the fused length": [cut_to(a, b) for a, b in zip(first, fused, strict=True)],
        "fused, always": fused,
        "fused, guard decides": [b if r is None else a for a, b, r in zip(first, fused, reasons, strict=True)],
        "fused, guard and ranker decide (margin 0)": [
            b if r is None and m > 0 else a for a, b, r, m in zip(first, fused, reasons, margins, strict=True)
        ],
        "fused, guard and ranker decide (tuned margin)": [
            b if r is None and m > margin else a for a, b, r, m in zip(first, fused, reasons, margins, strict=True)
        ],
    }
    if untrained is not None:
        systems["untrained, always"] = untrained
    report = {
        "records": len(records),
        "guard refused": sum(reason is not None for reason in reasons),
        "guard's reasons": {
            reason: sum(r is not None and r.startswith(reason) for r in reasons)
            for reason in ("an apology", "it talks", "it repeats", "an empty")
        },
        "ranker prefers the fusion": sum(m > 0 for m in margins),
        "tuned margin": margin,
        "fused at the tuned margin": sum(r is None and m > margin for r, m in zip(reasons, margins, strict=True)),
        "words": {name: round(fmean(len(text.split()) for text in texts), 1) for name, texts in systems.items()},
        "words of references": round(fmean(len(record.reference.split()) for record in records), 1),
    }
    if untrained is not None:
        report["guard refused untrained"] = sum(
            guard.check(text, top) is not None for text, top in zip(untrained, tops, strict=True)
        )
    for name in METRICS:
        metric = resolve_metric(name)
        each = [scores(metric, list(r.candidates), [r] * len(r.candidates)) for r in records]
        values = {system: scores(metric, texts, records) for system, texts in systems.items()}
        values["mean candidate"] = [fmean(row) for row in each]
        values["oracle candidate"] = [max(row) for row in each]
        base = values["top-ranked candidate"]
        others = [system for system in values if system != "top-ranked candidate"]
        tests = [paired_test(values[system], base, against="top-ranked candidate") for system in others]
        corrected = dict(zip(others, holm([test.p for test in tests]), strict=True))
        differences = dict(zip(others, [test.difference for test in tests], strict=True))
        table = {}
        for system, row in values.items():
            estimate = bootstrap_mean(row)
            table[system] = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
            if system in differences:
                d = differences[system]
                table[system] |= {"difference": d.mean, "d_low": d.low, "d_high": d.high, "p_holm": corrected[system]}
        report[name] = table
        report[f"{name}: fused beats top"] = sum(a > b for a, b in zip(values["fused, always"], base, strict=True))
    return report


def ranker_margin(ranker: Ranker, record: FusionRecord, top: tuple[str, ...], text: str) -> float:
    """How much higher the ranker puts the fused text than the best candidate."""
    found = ranker.rank(record.prompt, [*top, text]).scores
    return found[-1] - found[0]


def tuned_margin(records: list[FusionRecord], tops: list[tuple[str, ...]], fused: list[str], ranker: Ranker) -> float:
    """The margin with the best mean ROUGE-L on records that are not reported."""
    guard = FusionGuard()
    metric = resolve_metric("rougeL")
    gains = [
        b - a
        for a, b in zip(scores(metric, [t[0] for t in tops], records), scores(metric, fused, records), strict=True)
    ]
    rows = [
        (ranker_margin(ranker, record, top, text), gain)
        for record, top, text, gain in zip(records, tops, fused, gains, strict=True)
        if guard.check(text, top) is None
    ]
    # below all: always; above all: never
    choices = [min(m for m, _ in rows) - 1.0, *(m for m, _ in rows)]
    return max(choices, key=lambda choice: sum(gain for m, gain in rows if m > choice))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default=None)
    parser.add_argument("--untrained", action="store_true", help="fuse with the model the run started from, too")
    parser.add_argument("--file", action="append", help="report on these of the run's files only; repeat it for more")
    parser.add_argument("--tune", type=int, default=64, help="development records that the margin is tuned on")
    arguments = parser.parse_args()
    config = FuserTrainingConfig.load(arguments.config)
    arguments.out.mkdir(parents=True, exist_ok=True)
    # a prompt's split is its own, whatever other files there are
    splits = fusion_splits(config.replace(files=tuple(arguments.file or config.files)), arguments.data)
    ranker = resolve_ranker(config.ranker)
    parts = {"test": splits["test"], "development": splits["development"][: arguments.tune]}
    tops, fused = {}, {}
    for side, records in parts.items():
        orders = rank_records(records, ranker, cache=Path(config.output) / "rankings.jsonl")
        tops[side] = [top_candidates(r, order, config.top_k) for r, order in zip(records, orders, strict=True)]
        path = arguments.out / f"fused-{side}.jsonl"
        fused[side] = fused_texts(Path(config.output) / "model", records, tops[side], path)
    untrained = None
    if arguments.untrained:
        folder = arguments.out / "untrained"
        if not (folder / "gen_fuser.json").is_file():
            load_base_model(config).save(folder, config)
        untrained = fused_texts(folder, parts["test"], tops["test"], arguments.out / "fused-untrained.jsonl")
    margin = tuned_margin(parts["development"], tops["development"], fused["development"], ranker)
    report = measure(parts["test"], tops["test"], fused["test"], ranker, margin, untrained)
    (arguments.out / "quality.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

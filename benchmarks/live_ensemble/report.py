"""Who is right how often: each member, simple choices, and the library's rankers, on the gathered answers.

    python benchmarks/live_ensemble/report.py --csv research/data

No model but the embedded ranker is run: the answers of the four local models are in this folder. The member prior
is learned from the rankings of the development half, without looking at any check, and goes on learning on the test
half; "judged" rows tell it which answers to some development prompts are right instead. "declared" is the share that
each member has right there, the catalogue's prior is that of `make_prior.py`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

from rich.console import Console

from blender_core import MemberPrior
from blender_core.rank.registry import resolve_ranker
from blender_core.view import Column, Table
from blender_lab.data.mixinstruct import MixRecord, joined_prompt, read_mix, write_mix
from blender_lab.evaluate.statistics import bootstrap_mean, holm, paired_test
from blender_lab.mix.scoring import passes

HERE = Path(__file__).parent
Pick = Callable[[MixRecord], int]


def right(record: MixRecord, index: int) -> float:
    return float(record.candidates[index].scores["check"])


def member(name: str) -> Pick:
    return lambda record: next(i for i, candidate in enumerate(record.candidates) if candidate.model == name)


def ranked(name: str, prior: MemberPrior | None = None) -> Pick:
    ranker = resolve_ranker(name)

    def pick(record: MixRecord) -> int:
        texts = [candidate.text for candidate in record.candidates]
        names = [candidate.model for candidate in record.candidates]
        ranking = ranker.rank(joined_prompt(record.instruction, record.input), texts)
        if prior is None:
            return ranking.best
        blended = prior.blend(names, ranking, texts)
        prior.observe(names, ranking)
        return blended.best

    return pick


def rate(prior: MemberPrior, name: str, record: MixRecord) -> None:
    """Tell the prior which answers were right, as a user would who judged a few prompts."""
    texts = [candidate.text for candidate in record.candidates]
    ranking = resolve_ranker(name).rank(joined_prompt(record.instruction, record.input), texts)
    ratings = [right(record, index) for index in range(len(texts))]
    prior.judge_answers([candidate.model for candidate in record.candidates], ranking, ratings)


def scores_of(records: Sequence[MixRecord], pick: Pick) -> list[float]:
    return [right(record, pick(record)) for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, default=HERE / "answers.jsonl.gz")
    parser.add_argument("--csv", type=Path, help="folder that receives the tables; default: they are printed")
    parser.add_argument("--quiet", type=Path, help="only write the prompts of latency.jsonl with their quiet latencies")
    parser.add_argument("--development", type=Path, help="only write the development half, for training a fuser")
    options = parser.parse_args()
    records = list(read_mix(options.answers))
    if options.quiet:
        write_mix(options.quiet, with_quiet_latency(records, HERE / "latency.jsonl"))
        return
    development = [record for record in records if record.extra["split"] == "development"]
    test = [record for record in records if record.extra["split"] == "test"]
    if options.development:
        options.development.parent.mkdir(parents=True, exist_ok=True)
        write_mix(options.development, development)
        return
    rng = random.Random(0)
    names = sorted({candidate.model for candidate in records[0].candidates})
    systems: dict[str, list[float]] = {name: scores_of(test, member(name)) for name in names}
    best = max(names, key=lambda name: sum(scores_of(development, member(name))))
    systems["random pick"] = scores_of(test, lambda record: rng.randrange(len(record.candidates)))
    for name in ("longest", "consensus", "embedded"):
        systems[name] = scores_of(test, ranked(name))
    for name in ("consensus", "embedded"):
        pick = ranked(name, MemberPrior())
        scores_of(development, pick)
        systems[f"{name} + member prior"] = scores_of(test, pick)
    for name in ("consensus", "embedded"):
        for count in (10, 30):
            prior = MemberPrior()
            # evenly over the file, which is ordered by task
            for record in development[:: len(development) // count][:count]:
                rate(prior, name, record)
            systems[f"{name} + prior with {count} judged prompts"] = scores_of(test, ranked(name, prior))
    shares = {name: sum(scores_of(development, member(name))) / len(development) for name in names}
    systems["embedded + declared shares of the development half"] = scores_of(
        test, ranked("embedded", MemberPrior.declared(shares))
    )
    systems["embedded + the catalogue's prior"] = scores_of(test, ranked("embedded", MemberPrior.of_catalogue()))
    for path in sorted(HERE.glob("blended-*.jsonl")):
        rows = {row["id"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        _, ranker, when = path.stem.split("-", 2)
        when, _, fuser = when.partition("@")
        share = sum(bool(row["fused"]) for row in rows.values()) / len(rows)
        systems[f"blend: {ranker}, fused {when} by {fuser or 'the first'} ({share:.0%})"] = [
            float(passes(record.check, rows[record.id]["text"])) if record.id in rows else math.nan for record in test
        ]
    systems["oracle"] = [max(right(record, i) for i in range(len(record.candidates))) for record in test]
    tables = {
        "live_ensemble": report(test, systems, best),
        "live_ensemble_latency": latency_report(HERE / "latency.jsonl", best),
    }
    for name, table in tables.items():
        if options.csv is None:
            Console(width=220).print(table, "")
            continue
        with (options.csv / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([[column.heading for column in table.columns], *table.rows])


def report(test: Sequence[MixRecord], systems: dict[str, list[float]], best: str) -> Table:
    tasks = sorted({record.task for record in test})
    tests = {name: paired_test(values, systems[best], against=best) for name, values in systems.items() if name != best}
    corrected = dict(zip(tests, holm([item.p for item in tests.values()]), strict=True))
    rows = []
    for name, values in systems.items():
        estimate = bootstrap_mean(values)
        by_task = []
        for task in tasks:
            own = [value for value, record in zip(values, test, strict=True) if record.task == task]
            by_task.append(f"{sum(own) / len(own):.2f}")
        p = f"{corrected[name]:.3f}" if name in corrected else "-"
        rows.append([name, f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}", p, *by_task])
    title = f"{len(test)} prompts of the test half; p: paired test against {best}, the best on the development half"
    return _table(("name", "all", "95% interval", "p (Holm)", *tasks), rows, title)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Table:
    return Table([Column(heading, number=heading != "name") for heading in headings], rows, title)


def with_quiet_latency(records: Sequence[MixRecord], path: Path) -> list[MixRecord]:
    """The prompts whose latency was measured alone on the machine, with that in place of the busy machine's."""
    rows = {row["id"]: row["alone"] for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    return [
        replace(
            record,
            candidates=tuple(
                replace(one, gathered=replace(one.gathered, latency_s=rows[record.id][one.model]))
                for one in record.candidates
                if one.gathered is not None
            ),
        )
        for record in records
        if record.id in rows
    ]


def latency_report(path: Path, best: str) -> Table:
    """Seconds of each member alone and of the blend, and their ratio to the best member's, prompt by prompt."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    columns = {f"{name}, alone": [row["alone"][name] for row in rows] for name in sorted(rows[0]["alone"])}
    columns["all members alone, one after the other"] = [sum(row["alone"].values()) for row in rows]
    columns["blend: gather, all at the same time"] = [row["blend"]["gather"] for row in rows]
    columns["blend: rank"] = [row["blend"]["rank"] for row in rows]
    columns["blend: fuse"] = [row["blend"]["fuse"] for row in rows]
    columns["blend, picked"] = [row["blend"]["gather"] + row["blend"]["rank"] for row in rows]
    columns["blend, fused"] = [row["blend"]["total"] for row in rows]
    shown = []
    for name, seconds in columns.items():
        ratio = median(one / row["alone"][best] for one, row in zip(seconds, rows, strict=True))
        shown.append([name, *(f"{value:.2f}" for value in (median(seconds), fmean(seconds), max(seconds), ratio))])
    title = f"Wall seconds on {len(rows)} prompts of the test half; ratio: median over prompts, against {best} alone"
    return _table(("name", "median", "mean", "worst", "ratio"), shown, title)


if __name__ == "__main__":
    main()

r"""Which sets of members are worth asking: best member, pick and oracle of every set, on the recorded answers.

    python benchmarks/live_ensemble/members.py
    python benchmarks/live_ensemble/members.py --half test

The first table is the one to choose by. On the development half the prior is rated on four fifths of the prompts and
picks on the last, in turn. On the test half it is rated on the whole development half. Samples of one model differ in
their seed alone, so the prior and the choice of the best member take them as one. Members stand strongest first,
because equal scores keep the order. Only the ranker is run.

The catalogue's prior is what a blend of these models takes by default. It was rated on the development half, so its
column is a test on the test half only. It counts sampled answers a little less than greedy ones. Blends whose
fusions were run live with `fuse.py` have one more column; they are of the test half.

`samples.jsonl.gz` holds two more answers of the strongest member, sampled at temperature 0.7, at most 512 tokens:

    blended-llm mix prompts.jsonl --out samples.jsonl.gz --concurrency 4 --model qwen2.5-coder-1.5b \
        --model qwen2.5-coder-1.5b --model qwen2.5-coder-1.5b
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from rich.console import Console

from blender_core import MemberPrior, Ranking
from blender_core.rank.registry import resolve_ranker
from blender_core.view import Column, Table
from blender_lab.data.mixinstruct import MixRecord, joined_prompt, read_mix
from blender_lab.mix.scoring import passes

HERE = Path(__file__).parent
# whole blends of these members, made by fuse.py
BLENDS = "default-blends.jsonl"
FOLDS = 5
STRONG, SECOND, THIRD = "qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b#2", "qwen2.5-coder-1.5b#3"
HALF, SMALL, BASE = "qwen2.5-coder-0.5b", "smollm2-135m", "gemma-3-270m"
SETS = (
    (STRONG, SECOND),
    (STRONG, HALF),
    (STRONG, SMALL),
    (SMALL, BASE),
    (STRONG, SECOND, THIRD),
    (STRONG, SECOND, HALF),
    (STRONG, SECOND, SMALL),
    (STRONG, HALF, SMALL),
    (HALF, SMALL, BASE),
    (STRONG, SECOND, THIRD, HALF),
    (STRONG, SECOND, HALF, SMALL),
    (STRONG, HALF, SMALL, BASE),
)


def load() -> list[MixRecord]:
    """The recorded answers of all members, on the prompts that all have answered."""
    records = {record.id: record for record in read_mix(HERE / "answers.jsonl.gz")}
    found = []
    for record in read_mix(HERE / "samples.jsonl.gz"):
        known = records[record.id]
        new = tuple(one for one in record.candidates if one.model not in known.models)
        found.append(replace(known, candidates=(*known.candidates, *new)))
    return found


def only(record: MixRecord, members: Sequence[str]) -> MixRecord:
    """The record with these members' answers, in their order."""
    by_name = {one.model: one for one in record.candidates}
    return replace(record, candidates=tuple(by_name[name] for name in members))


def rights(record: MixRecord) -> list[float]:
    return [float(one.scores["check"]) for one in record.candidates]


@functools.cache
def _rank(ranker: str, prompt: str, texts: tuple[str, ...]) -> Ranking:
    return resolve_ranker(ranker).rank(prompt, texts)


def rank(ranker: str, record: MixRecord) -> Ranking:
    return _rank(ranker, joined_prompt(record.instruction, record.input), record.texts)


def strengths(record: MixRecord) -> list[str]:
    """The names that a prior rates: all samples of a model are one."""
    return [f"{model}, sampled" if sample else model for model, sample, _ in (m.partition("#") for m in record.models)]


def rated(ranker: str, records: Sequence[MixRecord]) -> MemberPrior:
    """A prior that was told which answers to these prompts are right."""
    prior = MemberPrior()
    for record in records:
        prior.judge_answers(strengths(record), rank(ranker, record), rights(record))
    return prior


def picks(ranker: str, records: Sequence[MixRecord], prior: MemberPrior | None = None) -> list[float]:
    """Whether the pick is right, for each prompt."""
    found = []
    for record in records:
        ranking = rank(ranker, record)
        if prior is not None:
            ranking = prior.blend(strengths(record), ranking, record.texts)
        found.append(rights(record)[ranking.best])
    return found


def catalogue_picks(ranker: str, records: Sequence[MixRecord]) -> list[float]:
    """Whether the pick of a blend with default settings is right, for each prompt."""
    prior = MemberPrior.of_catalogue(records[0].models)
    blended = [(record, prior.blend(record.models, rank(ranker, record), record.texts)) for record in records]
    return [rights(record)[ranking.best] for record, ranking in blended]


def blended(ranker: str, records: Sequence[MixRecord]) -> str:
    """The share of right answers of whole blends, and how many were fused; a dash if none were run."""
    found = {}
    for line in (HERE / BLENDS).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if tuple(row["members"]) == records[0].models:
            found[row["id"]] = row
    if ranker != "embedded" or any(record.id not in found for record in records):
        return "-"
    shares = [float(passes(record.check, found[record.id]["text"])) for record in records]
    fused = sum(bool(found[record.id]["fused"]) for record in records)
    return f"{fmean(shares):.3f} ({fused})"


def in_folds(records: Sequence[MixRecord]) -> Iterator[tuple[list[MixRecord], list[MixRecord]]]:
    """Prompts to rate and prompts to pick on, each prompt picked on once."""
    for fold in range(FOLDS):
        yield [one for i, one in enumerate(records) if i % FOLDS != fold], list(records[fold::FOLDS])


def row(ranker: str, members: Sequence[str], development: Sequence[MixRecord], test: Sequence[MixRecord]) -> list[str]:
    """Measure one set; without a test half on the development half."""
    known = [only(record, members) for record in development]
    shown = [only(record, members) for record in test] or known
    if test:
        with_prior = picks(ranker, shown, rated(ranker, known))
    else:
        with_prior = [each for rate, pick in in_folds(known) for each in picks(ranker, pick, rated(ranker, rate))]
    alike = strengths(known[0])
    shares = [fmean(rights(record)[i] for record in known) for i in range(len(members))]
    pooled = [fmean(share for share, name in zip(shares, alike, strict=True) if name == own) for own in alike]
    best = pooled.index(max(pooled))
    numbers = (
        fmean(rights(record)[best] for record in shown),
        fmean(fmean(rights(record)) for record in shown),
        fmean(picks(ranker, shown)),
        fmean(with_prior),
        fmean(catalogue_picks(ranker, shown)),
        fmean(max(rights(record)) for record in shown),
    )
    cells = [f"{number:.3f}" for number in numbers]
    return [" + ".join(members), *cells[:-1], blended(ranker, shown) if test else "-", cells[-1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("development", "test"), default="development")
    parser.add_argument("--ranker", default="embedded")
    parser.add_argument("--set", dest="sets", action="append", help="another set: names with commas between")
    options = parser.parse_args()
    records = load()
    halves = {half: [one for one in records if one.extra["split"] == half] for half in ("development", "test")}
    test = halves["test"] if options.half == "test" else []
    sets = [tuple(one.split(",")) for one in options.sets or ()] or SETS
    rows = [row(options.ranker, one, halves["development"], test) for one in sets]
    headings = (
        "members",
        "best member",
        "chance",
        "pick",
        "pick with prior",
        "catalogue's prior",
        "blend (fused)",
        "oracle",
    )
    columns = [Column(heading, number=heading != "members") for heading in headings]
    title = f"{len(test or halves['development'])} prompts of the {options.half} half, ranker {options.ranker}"
    Console(width=200).print(Table(columns, rows, title=title), "")


if __name__ == "__main__":
    main()

"""How often each engine is right, and how often the ranked pick is.

    python benchmarks/rag/measure.py [--answers FILE] [--fused FILE ...] [--json FILE]

Settings are chosen on the development half of the questions; the tables show the other half. Needs no LLM.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from questions import is_correct
from recorded import HERE, Case, read_cases

from blender_core import Ranking
from blender_core.rag import (
    EmbeddingGroundedness,
    EvidenceGroundedness,
    GroundedCandidate,
    GroundedRanker,
    LexicalGroundedness,
)
from blender_core.rank.registry import resolve_ranker
from blender_lab.evaluate.statistics import bootstrap_mean, paired_test

CONTEXTS = (0, 600)
WEIGHTS = (1.0, 4.0, 16.0)
FLOORS = (0.0, 0.2, 0.4)
MEASURES = ("evidence", "words", "embedding")


@dataclass(frozen=True)
class Settings:
    """What ``GroundedRanker`` is given."""

    ranker: str
    context: int
    measure: str
    weight: float = 1.0
    floor: float = 0.0

    def __str__(self) -> str:
        context = f"{self.context} characters of passages" if self.context else "question alone"
        if self.measure == "off":
            return f"{self.ranker}, {context}"
        return f"{self.ranker}, {context}, groundedness by {self.measure} x {self.weight:g}, at least {self.floor:g}"


DEFAULT = Settings("embedded", 600, "evidence", 16.0, 0.2)


class Remembered:
    """A ranker or a measure that is asked once for the same texts, since many settings share them."""

    def __init__(self, name: str, ask: Callable[..., Any]) -> None:
        self.name, self._ask, self._known = name, ask, {}

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank."""
        return self._remember((prompt, *candidates), prompt, candidates)

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure."""
        return self._remember((question, *(one.answer for one in candidates)), question, candidates)

    def _remember(self, key: tuple[str, ...], *asked: Any) -> Any:
        if key not in self._known:
            self._known[key] = self._ask(*asked)
        return self._known[key]


@cache
def measure(name: str) -> Remembered:
    made = {"evidence": EvidenceGroundedness, "words": LexicalGroundedness, "embedding": EmbeddingGroundedness}[name]
    return Remembered(name, made().score)


@cache
def inner(name: str) -> Remembered:
    return Remembered(name, resolve_ranker(name).rank)


def picks(settings: Settings, cases: Iterable[Case]) -> list[float]:
    """1 where the answer that is ranked first is right."""
    ranker = GroundedRanker(
        inner(settings.ranker),
        groundedness=None if settings.measure == "off" else measure(settings.measure),
        groundedness_weight=settings.weight,
        min_groundedness=settings.floor,
        context_characters=settings.context,
    )
    return [case.correct[ranker.rank(case.question.question, case.candidates).ranking.best] for case in cases]


def grid() -> list[Settings]:
    """Every setting that is tried on the development half; the default is the first."""
    tried = [DEFAULT]
    for ranker, context in itertools.product(("embedded", "consensus"), CONTEXTS):
        tried.append(Settings(ranker, context, "off"))
        tried += [Settings(ranker, context, *rest) for rest in itertools.product(MEASURES, WEIGHTS, FLOORS)]
    return list(dict.fromkeys(tried))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, default=HERE / "answers.jsonl.gz")
    parser.add_argument("--fused", type=Path, nargs="*", default=sorted(HERE.glob("fused-*.jsonl")))
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    cases = read_cases(options.answers)
    development = [case for case in cases if case.question.split == "development"]
    test = [case for case in cases if case.question.split == "test"]
    print(f"{len(development)} development questions, {len(test)} test questions\n")

    scores = {settings: picks(settings, development) for settings in grid()}
    chosen = max(scores, key=lambda settings: sum(scores[settings]))
    columns: dict[str, tuple[list[float], list[float]]] = {}
    for place, engine in enumerate(cases[0].engines):
        columns[f"engine: {engine}"] = tuple([case.correct[place] for case in half] for half in (development, test))
    columns["random pick (mean of the engines)"] = tuple(
        [sum(case.correct) / len(case.correct) for case in half] for half in (development, test)
    )
    shown = {
        "pick: longest": Settings("longest", 0, "off"),
        "pick: consensus": Settings("consensus", 0, "off"),
        "pick: embedded, question alone": Settings("embedded", 0, "off"),
        "pick: embedded, passages in view": Settings("embedded", 600, "off"),
        "pick: groundedness by words": Settings("embedded", 600, "words", 1.0, 0.3),
        "pick: groundedness by embedding": Settings("embedded", 600, "embedding", 1.0, 0.3),
        "pick: default settings (evidence)": DEFAULT,
        f"pick: chosen on development ({chosen})": chosen,
    }
    for name, settings in shown.items():
        columns[name] = (picks(settings, development), picks(settings, test))
    for path in options.fused:
        texts = {row["id"]: row["text"] for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        columns[f"fused: {path.stem.removeprefix('fused-')}"] = tuple(
            [
                float(is_correct(texts[case.question.id], case.question)) if case.question.id in texts else float("nan")
                for case in half
            ]
            for half in (development, test)
        )
    columns["oracle (any engine is right)"] = tuple(
        [max(case.correct) for case in half] for half in (development, test)
    )
    best = max((name for name in columns if name.startswith("engine")), key=lambda name: sum(columns[name][0]))
    report(columns, best, options.json)
    retrieved = {
        engine: sum(case.retrieved[place] for case in test) / len(test) for place, engine in enumerate(cases[0].engines)
    }
    print("\nshare of test questions whose passages hold the fact:")
    for engine, share in retrieved.items():
        print(f"  {engine}: {share:.3f}")


def report(columns: dict[str, tuple[list[float], list[float]]], best: str, target: Path | None) -> None:
    """Print the table; the engine that was best on the development half is what a user would have used alone."""
    print("| answer | development | test | 95% interval | against the best engine | p |\n|---|---|---|---|---|---|")
    rows = {}
    for name, (first, second) in columns.items():
        here, there = bootstrap_mean(first), bootstrap_mean(second)
        test = paired_test(second, columns[best][1], against=best)
        rows[name] = {"development": here.mean, "test": there.mean, "difference": test.difference.mean, "p": test.p}
        print(
            f"| {name} | {here.mean:.3f} | {there.mean:.3f} | {there.low:.3f} to {there.high:.3f} "
            f"| {test.difference.mean:+.3f} | {test.p:.3f} |"
        )
    print(f"\nbest engine on the development half: {best}")
    if target is not None:
        target.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The numbers of a ranker as tables."""

from __future__ import annotations

import math

from rich.table import Table
from rich.text import Text

from blender_lab.evaluate.blend_sets import BlendNumbers
from blender_lab.evaluate.pair_sets import PairNumbers
from blender_lab.evaluate.ranker import RankerNumbers

__all__ = ["PUBLISHED", "blend_table", "pair_table"]

PUBLISHED: dict[str, str] = {
    "autoj": "PairRM 59.05, GPT-4 61.9 (ties scored)",
    "evalbiasbench": "",
    "faireval": "GPT-4 72.7",
    "hh_harmless": "PairRM 49.2, Better-PairRM 69.2",
    "hhh": "PairRM 84.6, UltraRM-13B 83.7",
    "humanevalpack": "PairRM 64.7",
    "judgebench": "Skywork-27B 64.3 (350 pairs)",
    "llmbar": "PairRM 51.1",
    "llmeval2": "GPT-4 75.5",
    "mtbench_human200": "GPT-4 81.0",
    "pandalm": "PandaLM-7B 71.0",
}
"""Published accuracy in percent by pair set, for comparison; ``docs/ranker.md`` says where they are from."""


def pair_table(numbers: RankerNumbers) -> Table:
    """Pair sets, accuracies in percent."""
    table = _table(f"Pair sets: accuracy of {numbers.ranker!r} on non-ties, percent")
    for heading in (
        "set",
        "pairs",
        "accuracy",
        "95% interval",
        "longer wins",
        "shorter is better",
        "same in both orders",
        "one order",
        "ECE",
        "published",
    ):
        table.add_column(heading, justify="left" if heading in ("set", "published") else "right")
    for row in numbers.pairs:
        table.add_row(*map(Text, _pair_cells(row)))
    return table


def blend_table(numbers: RankerNumbers) -> Table:
    """Blend sets, mean score of the picked answer."""
    table = _table(f"Blend sets: mean score of the answer that {numbers.ranker!r} picks")
    for heading in (
        "set",
        "prompts",
        "picked",
        "random",
        "longest",
        "consensus",
        "embedding consensus",
        "best single",
        "oracle",
    ):
        table.add_column(heading, justify="left" if heading == "set" else "right")
    for row in numbers.blends:
        table.add_row(*map(Text, _blend_cells(row)))
    return table


def _table(title: str) -> Table:
    # names may hold what rich reads as markup
    return Table(title=Text(title, style="table.title"))


def _pair_cells(row: PairNumbers) -> list[str]:
    return [
        row.name,
        str(row.pairs),
        _percent(row.accuracy),
        f"{_percent(row.low)} to {_percent(row.high)}",
        _percent(row.longer),
        f"{_percent(row.shorter_accuracy)} of {row.shorter_pairs}",
        _percent(row.consistency),
        _percent(row.one_order_accuracy),
        _percent(row.calibration_error),
        PUBLISHED.get(row.name, ""),
    ]


def _blend_cells(row: BlendNumbers) -> list[str]:
    baselines = (row.random, row.longest, row.consensus, row.embedding_consensus)
    picked = _score(row.picked) if math.isnan(row.margin) else f"{_score(row.picked)} ± {row.margin:.3f}"
    best = f"{_score(row.best_single)} {row.best_member}".rstrip()
    return [row.name, str(row.prompts), picked, *map(_score, baselines), best, _score(row.oracle)]


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"

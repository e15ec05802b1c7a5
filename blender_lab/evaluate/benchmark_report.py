"""The numbers of a benchmark as typed objects, ready for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blender_core.errors import ConfigurationError
from blender_lab.evaluate.comparison_curve import ComparisonCurve
from blender_lab.evaluate.correlation import RankCorrelation
from blender_lab.evaluate.gpt_rank import Against
from blender_lab.evaluate.selections import Kind
from blender_lab.evaluate.significance import Estimate, PairedTest

__all__ = ["BenchmarkReport", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One way to get an answer.

    Attributes:
        name: Its name; unique together with ``kind``.
        kind: What stands behind it.
        prompts: Prompts with an answer.
        columns: Metric, ``"gpt_rank"`` or ``"top_3"`` -> mean over the prompts with its interval.
        against: Member -> how the answers compare with that member's.
        by_task: Task -> mean of the primary column; empty where there is one task only.
        tests: Paired tests on the primary column, for rankers and systems: against the best member and chance.
        picks: Model -> share of the prompts on which it is picked; empty for members and systems.
        seconds: Mean seconds of one ranking; ``None`` for others.
        latency_s: Mean seconds until the answer is there, ``None`` where the records do not tell. A ranker waits for
            the slowest member.
        cost: Mean cost of an answer; a ranker pays for all members.
        output_tokens: Mean tokens written for an answer.
    """

    name: str
    kind: Kind
    prompts: int
    columns: Mapping[str, Estimate]
    against: Mapping[str, Against]
    by_task: Mapping[str, float]
    tests: tuple[PairedTest, ...]
    picks: Mapping[str, float]
    seconds: float | None
    latency_s: float | None
    cost: float | None
    output_tokens: float | None


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """All numbers of a benchmark.

    Attributes:
        name: Name of the benchmark.
        prompts: Number of records.
        members: The members' names.
        oracle: Who said what is better: ``"verdicts"`` or a score's name.
        primary: The column that decides who is best: ``"gpt_rank"``, or the oracle's score.
        lower_is_better: Whether that column is a rank.
        best_member: The best member by it, among those that answered at least 90% of the prompts. Known only
            afterwards.
        against: Members that every row is compared with.
        rows: Members, oracles, chance, rankers, systems.
        correlations: Ranker or metric -> agreement with the oracle's ranks.
        rank_shares: Member -> share of its prompts on which the oracle ranks it 1, 2, ...
        curves: Ranker that compares pairs -> quality (the primary column, ranks with a minus) by number of
            comparisons.
    """

    name: str
    prompts: int
    members: tuple[str, ...]
    oracle: str
    primary: str
    lower_is_better: bool
    best_member: str
    against: tuple[str, ...]
    rows: tuple[Row, ...]
    correlations: Mapping[str, RankCorrelation]
    rank_shares: Mapping[str, tuple[float, ...]]
    curves: Mapping[str, ComparisonCurve]

    def row(self, name: str, kind: Kind | None = None) -> Row:
        """Look a row up.

        Args:
            name: Its name.
            kind: Its kind, where a name stands for more than one row.

        Returns:
            The first such row.

        Raises:
            ConfigurationError: There is none.
        """
        for row in self.rows:
            if row.name == name and kind in (None, row.kind):
                return row
        raise ConfigurationError(f"the report has no row {name!r}; it has {', '.join(row.name for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain JSON types; ``nan`` becomes ``None``."""
        plain = _plain(dataclasses.asdict(self))
        for row, source in zip(plain["rows"], self.rows, strict=True):
            for member, against in source.against.items():
                row["against"][member]["at_least_as_good"] = _plain(against.at_least_as_good)
                row["against"][member]["as_published"] = _plain(against.as_published)
                row["against"][member]["points"] = _plain(against.points)
        result: dict[str, Any] = plain
        return result


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

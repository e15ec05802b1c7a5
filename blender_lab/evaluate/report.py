"""The numbers of a benchmark, and their tables for terminal, notebook and documents."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.view.table import Column, Table
from blender_lab.evaluate.oracle import Against
from blender_lab.evaluate.statistics import ComparisonCurve, Estimate, PairedTest, RankCorrelation

__all__ = [
    "BenchmarkReport",
    "Kind",
    "Row",
    "check_markers",
    "write_between_markers",
]


class Kind(StrEnum):
    """Name the kinds of rows of the table.

    Attributes:
        MEMBER: One member's own answers.
        ORACLE: The best candidate by a metric or by the oracle, which nobody can know beforehand.
        CHANCE: The mean over all candidates: what picking by chance gives on average.
        RANKER: A ranker's first.
        SYSTEM: Finished answers that are no candidates, such as fused ones.
    """

    MEMBER = "member"
    ORACLE = "oracle"
    CHANCE = "chance"
    RANKER = "ranker"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to get an answer.

    Attributes:
        name: Its name; unique together with ``kind``.
        kind: What it is.
        prompts: Prompts with an answer.
        columns: Metric, ``"gpt_rank"`` or ``"top_3"`` -> mean over the prompts with its interval.
        against: Member -> how the answers compare with that member's.
        by_task: Task -> mean of the primary column; empty if there is one task only.
        tests: Paired tests on the primary column, for rankers and systems: against the best member and chance.
        picks: Model -> share of the prompts on which it is picked; empty for members and systems.
        seconds: Mean seconds of one ranking; ``None`` for others.
        latency_s: Mean seconds until the answer is there, ``None`` if the records do not tell. A ranker waits for
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
            kind: Its kind, if more than one row has the name.

        Returns:
            The first such row.

        Raises:
            ConfigurationError: There is none.
        """
        for row in self.rows:
            if row.name == name and kind in (None, row.kind):
                return row
        raise ConfigurationError(f"the report has no row {name!r}; it has {', '.join(row.name for row in self.rows)}")

    def table(self) -> Table:
        """Make the form of LLM-Blender's Table 2: a row for each way to get an answer.

        The primary column has its 95% interval; p is that of the paired test against the best member, Holm-corrected.
        """
        return _main_table(self)

    def agreement_table(self) -> Table:
        """Make a table of how well rankers and metrics agree with the oracle's ranks."""
        return _agreement_table(self)

    def task_table(self) -> Table:
        """Make a table of the primary column by task; without rows if there is one task only."""
        return _task_table(self)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Convert the numbers to plain JSON types; ``nan`` becomes ``None``."""
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


_TITLES = {"gpt_rank": "GPT-Rank", "top_3": "Top-3 %"}
_ORDER = (Kind.MEMBER, Kind.CHANCE, Kind.RANKER, Kind.SYSTEM, Kind.ORACLE)


def _main_table(report: BenchmarkReport) -> Table:
    rows = _sorted_rows(report)
    columns = [report.primary, *sorted({name for row in rows for name in row.columns} - {report.primary, *_TITLES})]
    if report.primary not in _TITLES:
        columns.append("gpt_rank")
    columns.append("top_3")
    timed = any(row.seconds is not None for row in rows)
    headings = [
        "",
        *(_TITLES.get(column, column) for column in columns),
        *(f"≥ {member} %" for member in report.against),
        f"p against {report.best_member}",
        *(["ms a ranking"] if timed else []),
    ]
    table = []
    for row in rows:
        cells = [f"oracle: {row.name}" if row.kind is Kind.ORACLE else row.name]
        for column in columns:
            cells.append(_estimate(row, column, interval=column == report.primary))
        for member in report.against:
            against = row.against.get(member)
            cells.append("-" if against is None else _percent(against.at_least_as_good))
        test = next((test for test in row.tests if test.against == report.best_member), None)
        cells.append("" if test is None else _p_value(test.p_holm))
        if timed:
            cells.append("" if row.seconds is None else f"{1000 * row.seconds:.1f}")
        table.append(tuple(cells))
    title = f"{report.name}: {report.prompts} prompts, {len(report.members)} members, oracle: {report.oracle}"
    return Table(_columns(headings), table, title, _breaks(rows))


def _agreement_table(report: BenchmarkReport) -> Table:
    found = sorted(report.correlations.items(), key=lambda item: _last_if_nan(item[1].within))
    rows = tuple(
        (name, *(_number(value) for value in (one.pearson, one.spearman, one.within)), _number(one.footrule))
        for name, one in found
    )
    title = f"{report.name}: agreement with the oracle's ranks ({report.oracle})"
    return Table(_columns(["", "Pearson", "Spearman", "Spearman within a prompt", "footrule"]), rows, title)


def _task_table(report: BenchmarkReport) -> Table:
    rows = [row for row in _sorted_rows(report) if row.by_task]
    tasks = sorted({task for row in rows for task in row.by_task})
    table = tuple(
        (
            f"oracle: {row.name}" if row.kind is Kind.ORACLE else row.name,
            *(_number(row.by_task.get(task, math.nan)) for task in tasks),
        )
        for row in rows
    )
    title = f"{report.name}: {_TITLES.get(report.primary, report.primary)} by task"
    return Table(_columns(["", *tasks]), table, title, _breaks(rows))


def _columns(headings: Sequence[str]) -> list[Column]:
    return [Column(heading, number=place > 0, name=place == 0) for place, heading in enumerate(headings)]


def _breaks(rows: Sequence[Row]) -> list[int]:
    return [place for place in range(len(rows) - 1) if rows[place].kind is not rows[place + 1].kind]


def write_between_markers(path: str | Path, marker: str, text: str) -> None:
    """Replace the text between ``<!-- marker -->`` and ``<!-- end marker -->``.

    Args:
        path: The document.
        marker: Name of the place.
        text: What shall stand there.

    Raises:
        ConfigurationError: The document has no such markers, or cannot be read.
    """
    before, after = _around_markers(Path(path), marker)
    Path(path).write_text(f"{before}\n\n{text.strip()}\n\n{after}", encoding="utf-8")


def check_markers(path: str | Path, marker: str) -> None:
    """Refuse a document that ``write_between_markers`` cannot write to.

    Args:
        path: The document.
        marker: Name of the place.

    Raises:
        ConfigurationError: The document has no such markers, or cannot be read or written.
    """
    _around_markers(Path(path), marker)
    if not os.access(path, os.W_OK):
        raise ConfigurationError(f"cannot write {path}: permission denied")


def _around_markers(path: Path, marker: str) -> tuple[str, str]:
    """The text before and after a place, with the markers."""
    first, last = f"<!-- {marker} -->", f"<!-- end {marker} -->"
    try:
        document = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    before, found, rest = document.partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed):
        raise ConfigurationError(f"{path} has no lines {first!r} and {last!r} to write between")
    return before + first, last + after


def _sorted_rows(report: BenchmarkReport) -> list[Row]:
    sign = 1.0 if report.lower_is_better else -1.0

    def place(row: Row) -> tuple[int, float]:
        mean = row.columns[report.primary].mean
        return _ORDER.index(row.kind), math.inf if math.isnan(mean) else sign * mean

    return sorted(report.rows, key=place)


def _estimate(row: Row, column: str, *, interval: bool) -> str:
    estimate = row.columns.get(column)
    if estimate is None or math.isnan(estimate.mean):
        return "-"
    if column == "top_3":
        return _percent(estimate.mean)
    mean = _number(estimate.mean)
    return f"{mean} ({_number(estimate.low)} to {_number(estimate.high)})" if interval else mean


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _p_value(p: float) -> str:
    return "-" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else -value

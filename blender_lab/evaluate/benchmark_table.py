"""The benchmark's report as tables: for a terminal, and as Markdown for documents."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blender_core.errors import ConfigurationError
from blender_lab.evaluate.benchmark_report import BenchmarkReport, Row
from blender_lab.evaluate.selections import Kind

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "Cells",
    "check_markers",
    "correlation_cells",
    "main_cells",
    "markdown",
    "rich_table",
    "task_cells",
    "write_between_markers",
]

_TITLES = {"gpt_rank": "GPT-Rank", "top_3": "Top-3 %"}
_ORDER = (Kind.MEMBER, Kind.CHANCE, Kind.RANKER, Kind.SYSTEM, Kind.ORACLE)


@dataclass(frozen=True, slots=True)
class Cells:
    """A table as text.

    Attributes:
        title: What it shows.
        headings: One heading a column; the first column holds names.
        rows: One text a cell.
        breaks: Numbers of rows after which a group ends.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    breaks: tuple[int, ...] = ()


def main_cells(report: BenchmarkReport) -> Cells:
    """The form of LLM-Blender's Table 2: a row for each way to get an answer.

    The primary column has its 95% interval; p is that of the paired test against the best member, Holm-corrected.

    Args:
        report: The report.

    Returns:
        The table.
    """
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
    breaks = tuple(place for place in range(len(rows) - 1) if rows[place].kind is not rows[place + 1].kind)
    title = f"{report.name}: {report.prompts} prompts, {len(report.members)} members, oracle: {report.oracle}"
    return Cells(title, tuple(headings), tuple(table), breaks)


def correlation_cells(report: BenchmarkReport) -> Cells:
    """Agreement of rankers and metrics with the oracle's ranks.

    Args:
        report: The report.

    Returns:
        The table.
    """
    found = sorted(report.correlations.items(), key=lambda item: _last_if_nan(item[1].within))
    rows = tuple(
        (name, *(_number(value) for value in (one.pearson, one.spearman, one.within)), _number(one.footrule))
        for name, one in found
    )
    title = f"{report.name}: agreement with the oracle's ranks ({report.oracle})"
    return Cells(title, ("", "Pearson", "Spearman", "Spearman within a prompt", "footrule"), rows)


def task_cells(report: BenchmarkReport) -> Cells:
    """The primary column by task; no rows where there is one task only.

    Args:
        report: The report.

    Returns:
        The table.
    """
    rows = [row for row in _sorted_rows(report) if row.by_task]
    tasks = sorted({task for row in rows for task in row.by_task})
    table = tuple(
        (
            f"oracle: {row.name}" if row.kind is Kind.ORACLE else row.name,
            *(_number(row.by_task.get(task, math.nan)) for task in tasks),
        )
        for row in rows
    )
    breaks = tuple(place for place in range(len(rows) - 1) if rows[place].kind is not rows[place + 1].kind)
    return Cells(f"{report.name}: {_TITLES.get(report.primary, report.primary)} by task", ("", *tasks), table, breaks)


def rich_table(cells: Cells) -> Table:
    """For a terminal.

    Args:
        cells: The table.

    Returns:
        A table of ``rich``.
    """
    from rich.table import Table
    from rich.text import Text

    # names of models may hold what rich reads as markup
    table = Table(title=Text(cells.title, style="table.title"))
    for place, heading in enumerate(cells.headings):
        table.add_column(Text(heading), justify="right" if place else "left", overflow="fold")
    for place, row in enumerate(cells.rows):
        table.add_row(*map(Text, row), end_section=place in cells.breaks)
    return table


def markdown(cells: Cells) -> str:
    r"""For a document.

    Args:
        cells: The table.

    Returns:
        A table in GitHub's Markdown, without its title.

    Examples:
        >>> print(markdown(Cells("t", ("", "x"), (("a|b", "1"),))))
        |  | x |
        |---|---:|
        | a\|b | 1 |
    """
    lines = [cells.headings, *cells.rows]
    written = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([written[0], "|---" + "|---:" * (len(cells.headings) - 1) + "|", *written[1:]])


def write_between_markers(path: str | Path, marker: str, text: str) -> None:
    """Replace what stands between ``<!-- marker -->`` and ``<!-- end marker -->`` in a document.

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
    """What stands before and after a place, the markers with it."""
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

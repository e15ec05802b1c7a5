"""A result in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from blender_core.types.ranking import Ranking
from blender_core.types.result import BlendResult, CandidateRecord
from blender_core.view import wording

__all__ = ["answer_panel", "bare_table", "candidate_table", "ranking_table", "result_table", "summary"]


def result_table(result: BlendResult) -> RenderableType:
    """The whole result: every member, the final text, the decision, what went wrong, the times.

    Args:
        result: The result of a call.

    Returns:
        Something that a rich console prints.
    """
    return Group(candidate_table(result), answer_panel(result), summary(result))


def candidate_table(result: BlendResult) -> Table:
    """Every member with rank, score, latency, tokens written, and its answer or the reason it has none.

    Args:
        result: The result of a call.

    Returns:
        The table, best first.
    """
    table = bare_table()
    table.add_column("#", justify="right")
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("fused", justify="center", no_wrap=True)
    table.add_column("answer", ratio=1)
    for record in wording.by_rank(result):
        table.add_row(*_row(result, record))
    return table


def answer_panel(result: BlendResult) -> Panel:
    """The final text, framed.

    Args:
        result: The result of a call.

    Returns:
        The panel.
    """
    text = result.text
    if not text.strip() and result.answer is not None:
        text = "\n".join(f"{call.name}({dict(call.arguments)})" for call in result.answer.tool_calls)
    return Panel(
        Text(wording.printable(text.strip())),
        title=Text(wording.headline(result)),
        title_align="left",
        border_style="yellow" if result.is_degraded else "green",
        padding=(0, 1),
    )


def summary(result: BlendResult) -> RenderableType:
    """The decision, what went wrong and what was cut, the times.

    Args:
        result: The result of a call.

    Returns:
        A few lines.
    """
    lines: list[tuple[str, str, str]] = [("decision", "dim", _decision(result))]
    lines += [("degraded", "yellow", why) for why in result.degraded]
    for record in wording.by_rank(result):
        why = wording.reason(record)
        if why is not None:
            lines.append(("left out", "red", f"{record.outcome.member}: {why}"))
    lines += [("cut", "yellow", f"{stage}: {_cut(cut)}") for stage, cut in result.cut.items()]
    lines.append(("time", "dim", wording.timings(result)))
    return _labelled(lines)


def ranking_table(ranking: Ranking, names: Sequence[str], texts: Sequence[str]) -> RenderableType:
    """A ranking with the candidates it is about.

    Args:
        ranking: The ranking.
        names: What each candidate is called, by index.
        texts: The candidates, by index.

    Returns:
        The table, best first, with the confidence below.
    """
    table = bare_table()
    table.add_column("#", justify="right")
    table.add_column("candidate", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("text", ratio=1)
    ranks = ranking.ranks
    for index in ranking.order:
        best = ranks[index] == 1
        text = wording.one_line(texts[index])
        table.add_row(
            Text(str(ranks[index]), style="bold green" if best else ""),
            Text(wording.printable(names[index]), style="bold" if best else ""),
            wording.score(ranking.scores[index]),
            Text(text or "(blank)", style="" if text else "dim", overflow="ellipsis", no_wrap=True),
        )
    below = [("ranker", "dim", ranking.ranker)]
    if len(ranking.order) > 1:
        below.append(("sure", "dim", f"{ranking.confidence:.0%} that the first is better than the second"))
    if ranking.cut:
        cut = {"prompt" if index < 0 else names[index]: count for index, count in ranking.cut.items()}
        below.append(("cut", "yellow", _cut(cut)))
    return Group(table, _labelled(below))


def bare_table() -> Table:
    """An empty table in the package's style."""
    return Table(
        box=box.SIMPLE_HEAD,
        expand=True,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
        header_style="dim",
        show_edge=False,
    )


def _labelled(lines: Sequence[tuple[str, str, str]]) -> Table:
    """Lines with a label in front, the second and further lines of each indented."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, style, text in lines:
        grid.add_row(Text(label, style=style), Text(wording.one_line(text, 600)))
    return grid


def _row(result: BlendResult, record: CandidateRecord) -> list[RenderableType]:
    outcome = record.outcome
    why = wording.reason(record)
    won = outcome.index == result.winner_index
    answer = (
        Text(wording.one_line(record.text or _calls(record)), overflow="ellipsis", no_wrap=True)
        if why is None
        else Text(wording.status(record), style="yellow" if outcome.ok else "red")
    )
    return [
        Text("\u2013" if record.rank is None else str(record.rank), style="bold green" if won else ""),
        Text(wording.printable(outcome.member), style="bold green" if won else "" if outcome.ok else "dim"),
        wording.score(record.score),
        wording.seconds(outcome.latency_s) if outcome.attempts else "\u2013",
        wording.tokens(outcome),
        Text("\u2713", style="green") if record.fused else "",
        answer,
    ]


def _calls(record: CandidateRecord) -> str:
    calls = () if record.outcome.answer is None else record.outcome.answer.tool_calls
    return ", ".join(f"{call.name}()" for call in calls)


def _decision(result: BlendResult) -> str:
    if result.fused:
        return f"fused with {result.fuser}: {result.decision}"
    return f"not fused: {result.decision}" if not result.degraded else result.decision


def _cut(cut: object) -> str:
    assert hasattr(cut, "items")
    return ", ".join(f"{name} by {tokens} token{'' if tokens == 1 else 's'}" for name, tokens in cut.items())

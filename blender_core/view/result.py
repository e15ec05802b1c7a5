"""Show a result or a ranking in the terminal and in notebooks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from blender_core.types.ranking import Ranking
from blender_core.types.result import BlendResult
from blender_core.view import wording
from blender_core.view.table import Cell, Column, Emphasis, Table, html_block

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.panel import Panel

__all__ = [
    "answer_panel",
    "blend_table",
    "candidate_table",
    "ranking_html",
    "ranking_table",
    "result_html",
    "result_table",
    "score_bars",
    "summary",
]

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR_WIDTH = 10
_PREVIEW = 160
_NUMBERS_UP_TO = 14


def result_table(result: BlendResult) -> RenderableType:
    """Show the whole result: members, final text, decision, problems, times.

    Args:
        result: The result of a call.

    Returns:
        A rich renderable.
    """
    from rich.console import Group

    return Group(candidate_table(result), answer_panel(result), summary(result))


def result_html(result: BlendResult) -> str:
    """Show the whole result as HTML, with the comparisons of pairs as a heat map.

    Args:
        result: The result of a call.

    Returns:
        One block of HTML.
    """
    mark = " degraded" if result.is_degraded else ""
    notes = [_note("decision", _decision(result))]
    notes += [_note("kept", why) for why in _kept(result)]
    notes += [_note("degraded", why) for why in result.degraded]
    notes += [_note("cut", f"{stage}: {_cut(cut)}") for stage, cut in result.cut.items()]
    notes.append(_note("time", wording.timings(result)))
    heat_map = ""
    if result.ranking is not None:
        names = [record.outcome.member for record in result.candidates if record.rank is not None]
        heat_map = _heat_map(result.ranking, _labels(result.ranking, names))
    return html_block(
        f'<div class="note"><b>{escape(wording.headline(result))}</b></div>',
        f'<div class="text{mark}">{escape(_final_text(result))}</div>',
        candidate_table(result).html(),
        *notes,
        heat_map,
    )


def candidate_table(result: BlendResult) -> Table:
    """Make a table of the members, best first, with their answers or failures.

    Args:
        result: The result of a call.

    Returns:
        The table.
    """
    return _members(result.to_dict(), bars=False)


def blend_table(blend: Mapping[str, Any]) -> Table:
    r"""Make a table of the members, best first, with scores as bars; its title says who won.

    Args:
        blend: ``message.response_metadata["blend"]`` of LangChain, ``response.raw["blend"]`` of LlamaIndex, or
            ``BlendResult.to_dict()``.

    Returns:
        The table, for a rich console, a notebook or ``Table.markdown``.

    Examples:
        >>> from rich.console import Console
        >>> from blender_core import Blender
        >>> result = Blender([lambda question: "Paris.", lambda question: ""], fuser=None).blend("Capital of France?")
        >>> console = Console(width=80)
        >>> with console.capture() as shown:
        ...     console.print(blend_table(result.to_dict()))
        >>> shown.get().split("\n")[0].strip()
        'won: <lambda>'
    """
    return dataclasses.replace(_members(blend, bars=True), title=f"won: {blend['winner']}")


def score_bars(scores: Sequence[float | None], *, width: int = _BAR_WIDTH) -> list[str]:
    """Draw scores as bars: the best is full, the worst a sliver, the others in proportion.

    Args:
        scores: Scores of one ranking; ``None`` for an answer without one.
        width: Characters of a full bar.

    Returns:
        One text per score; empty for ``None``.

    Examples:
        >>> score_bars([1.0, 0.5, 0.0, None], width=4)
        ['████', '██', '▏', '']
    """
    known = [score for score in scores if score is not None]
    low, spread = (min(known), max(known) - min(known)) if known else (0.0, 0.0)
    bars = []
    for score in scores:
        share = 1.0 if not spread else (score - low) / spread if score is not None else 0.0
        eighths = round(1 + share * (8 * width - 1))
        bars.append("" if score is None else _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip())
    return bars


def answer_panel(result: BlendResult) -> Panel:
    """Frame the final text.

    Args:
        result: The result of a call.

    Returns:
        The panel.
    """
    from rich.panel import Panel
    from rich.text import Text

    return Panel(
        Text(_final_text(result)),
        title=Text(wording.headline(result)),
        title_align="left",
        border_style="yellow" if result.is_degraded else "green",
        padding=(0, 1),
    )


def summary(result: BlendResult) -> RenderableType:
    """Say what happened in one line, then list a refused fusion, problems and cut tokens.

    Args:
        result: The result of a call.

    Returns:
        A few lines.
    """
    how = f"by {result.fuser}{_why_fused(result)}" if result.fused else result.decision
    told = f"{wording.headline(result)}, {how} \u00b7 {wording.timings(result)}"
    lines: list[tuple[str, str, str]] = [("done", "dim", told)]
    lines += [("kept", "cyan", why) for why in _kept(result)]
    lines += [("degraded", "yellow", why) for why in result.degraded]
    for one in wording.by_rank(result.to_dict()):
        why = wording.reason(one)
        if why is not None and one["rank"] is None:
            lines.append(("left out", "red", f"{one['model']}: {why}"))
    lines += [("cut", "yellow", f"{stage}: {_cut(cut)}") for stage, cut in result.cut.items()]
    return _labelled(lines)


def ranking_table(ranking: Ranking, names: Sequence[str], texts: Sequence[str]) -> RenderableType:
    """Show a ranking with its candidates, best first, and the confidence below.

    Args:
        ranking: The ranking.
        names: Names of the candidates, by index.
        texts: The candidates, by index.

    Returns:
        A rich renderable.
    """
    from rich.console import Group

    return Group(_ranked(ranking, names, texts), _labelled(_ranking_notes(ranking, names)))


def ranking_html(ranking: Ranking, names: Sequence[str] | None = None) -> str:
    """Show a ranking as HTML: order, scores, and the comparisons of pairs as a heat map.

    Args:
        ranking: The ranking.
        names: Names of the candidates, by index; default ``candidate 0`` and so on.

    Returns:
        One block of HTML. A cell of the heat map is ``Ranking.preference``, how likely its row beats its column; rows
        and columns are ordered best first.

    Examples:
        >>> "candidate 1" in ranking_html(Ranking.from_scores([0.1, 2.0], ranker="example"))
        True
    """
    labels = _labels(ranking, names)
    notes = [_note(label, text) for label, _, text in _ranking_notes(ranking, labels)]
    return html_block(_ranked(ranking, labels).html(), *notes, _heat_map(ranking, labels))


def _members(blend: Mapping[str, Any], *, bars: bool) -> Table:
    ordered = wording.by_rank(blend)
    drawn = score_bars([one["score"] for one in ordered])
    fused = not bars and any(one["fused"] for one in ordered)
    flawed = any(one.get("flaw") for one in ordered)
    columns = [
        Column("#", number=True),
        Column("model", name=True),
        *([Column("score"), Column(number=True)] if bars else [Column("score", number=True)]),
        Column("time", number=True),
        *([] if bars else [Column("tokens", number=True)]),
        *([Column("fused")] if fused else []),
        *([Column("flaw")] if flawed else []),
        Column("answer", wide=True),
    ]
    rows: list[list[Cell | str]] = []
    for one, bar in zip(ordered, drawn, strict=True):
        won = one["model"] == blend["winner"]
        why = wording.reason(one)
        plain: Emphasis = "best" if won else "" if why is None else "dim"
        rows.append(
            [
                Cell("\u2013" if one["rank"] is None else str(one["rank"]), plain),
                Cell(one["model"], plain),
                *([Cell(bar, "good" if won else "")] if bars else []),
                Cell(wording.score(one["score"]), plain),
                wording.seconds(one["latency_s"]) if one["attempts"] else "\u2013",
                *([] if bars else [wording.tokens(one)]),
                *([Cell("\u2713" if one["fused"] else "", "good")] if fused else []),
                *([Cell(one.get("flaw") or "", "warning")] if flawed else []),
                _answer(one, why),
            ]
        )
    return Table(columns, rows)


def _answer(one: Mapping[str, Any], why: str | None) -> Cell:
    text = wording.printable(one.get("text") or "").strip()
    if why is not None:
        return Cell(why, "warning" if one["invalid"] else "error", more=text)
    if not text:
        return Cell(wording.one_line(", ".join(map(_call, one.get("tool_calls", ())))))
    shown = wording.one_line(text, _PREVIEW)
    return Cell(shown, more="" if shown == text else text)


def _call(call: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in call["arguments"].items())
    return f"{call['name']}({arguments})"


def _ranked(ranking: Ranking, names: Sequence[str], texts: Sequence[str] | None = None) -> Table:
    columns = [Column("#", number=True), Column("candidate", name=True), Column("score", number=True)]
    rows = []
    for index in ranking.order:
        emphasis: Emphasis = "best" if ranking.ranks[index] == 1 else ""
        row = [
            Cell(str(ranking.ranks[index]), emphasis),
            Cell(names[index], emphasis),
            Cell(wording.score(ranking.scores[index]), emphasis),
        ]
        if texts is not None:
            text = wording.one_line(texts[index])
            row.append(Cell(text or "(blank)", "" if text else "dim"))
        rows.append(row)
    return Table([*columns, *([] if texts is None else [Column("text", wide=True)])], rows)


def _ranking_notes(ranking: Ranking, names: Sequence[str]) -> list[tuple[str, str, str]]:
    notes = [("ranker", "dim", ranking.ranker)]
    if len(ranking.order) > 1:
        best = ranking.ranks.count(1)
        sure = f"{ranking.confidence:.0%} that the first is better than the second"
        notes.append(("sure", "dim", sure if best == 1 else f"the first {best} share the best score"))
    if ranking.cut:
        cut = {"prompt" if index < 0 else names[index]: count for index, count in ranking.cut.items()}
        notes.append(("cut", "yellow", _cut(cut)))
    return notes


def _labelled(lines: Sequence[tuple[str, str, str]]) -> RenderableType:
    """Lay out lines with labels; continuation lines are indented."""
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, style, text in lines:
        grid.add_row(Text(label, style=style), Text(wording.one_line(text, 600)))
    return grid


def _note(label: str, text: str) -> str:
    return f'<div class="note"><span class="label">{label}</span> {escape(wording.printable(text))}</div>'


def _labels(ranking: Ranking, names: Sequence[str] | None) -> list[str]:
    if names is None or len(names) != len(ranking.scores):
        names = [f"candidate {index}" for index in range(len(ranking.scores))]
    return [wording.one_line(name, 60) for name in names]


def _final_text(result: BlendResult) -> str:
    if result.text.strip() or result.answer is None:
        return wording.printable(result.text.strip())
    return wording.printable("\n".join(f"{call.name}({dict(call.arguments)})" for call in result.answer.tool_calls))


def _decision(result: BlendResult) -> str:
    return f"fused with {result.fuser}{_why_fused(result)}" if result.fused else result.decision


def _why_fused(result: BlendResult) -> str:
    return result.decision.removeprefix("fused")


def _kept(result: BlendResult) -> list[str]:
    return [f"the best answer: {result.fusion_refused}"] if result.fusion_refused else []


def _cut(cut: Mapping[str, int]) -> str:
    return ", ".join(f"{name} by {tokens} token{'' if tokens == 1 else 's'}" for name, tokens in cut.items())


def _heat_map(ranking: Ranking, names: Sequence[str]) -> str:
    if ranking.comparisons is None or len(ranking.order) < 2:
        return ""
    labels = [escape(name) for name in names]
    order = ranking.order
    with_numbers = len(order) <= _NUMBERS_UP_TO
    places = range(1, len(order) + 1)
    head = "<tr><th></th>" + "".join(f"<th>{place}</th>" for place in places) + "</tr>"
    rows = []
    for place, row in zip(places, order, strict=True):
        cells = "".join(
            _cell(ranking, row, column, labels, with_numbers) if row != column else "<td></td>" for column in order
        )
        rows.append(f'<tr><th class="row">{labels[row]} &nbsp;{place}</th>{cells}</tr>')
    legend = _note("matrix", "percent: how likely the row is better than the column")
    kind = "map" if with_numbers else "map dense"
    return f'<div class="{kind}"><table>{head}{"".join(rows)}</table></div>{legend}'


def _cell(ranking: Ranking, row_index: int, column_index: int, labels: Sequence[str], with_number: bool) -> str:
    assert ranking.comparisons is not None
    row, column, logit = labels[row_index], labels[column_index], ranking.comparisons[row_index][column_index]
    probability = ranking.preference(row_index, column_index)
    if math.isnan(probability):
        return f'<td title="{row} and {column} were not compared">&middot;</td>'
    # green if the row wins, red if it loses, the page's own colour in between
    strength = abs(probability - 0.5) * 1.5
    colour = f"rgba(46,158,91,{strength:.2f})" if probability >= 0.5 else f"rgba(214,69,65,{strength:.2f})"
    number = f"{probability * 100:.0f}" if with_number else ""
    title = f"{row} better than {column}: {probability:.1%} (logit {logit:.3g})"
    return f'<td title="{title}" style="background:{colour}">{number}</td>'

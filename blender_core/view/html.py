"""A ranking and a result as HTML for notebooks: escaped, one block, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from blender_core.types.ranking import Ranking
from blender_core.types.result import BlendResult, CandidateRecord
from blender_core.view import wording

__all__ = ["ranking_html", "result_html"]

# colours are taken from the page and only made lighter, so that both kinds of pages work; selectors are longer than
# they need be, because Jupyter's own align every cell to the right and stripe the rows
_STYLE = """<style>
.blended{font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:60em}
.blended table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums;color:inherit;
 font-size:inherit}
.blended .model{min-width:10em;overflow-wrap:anywhere}
.blended.blended table tr:nth-child(n),.blended.blended table tr:nth-child(n):hover{background:transparent}
.blended.blended table th{font-weight:400;opacity:.65;text-align:left;padding:.15em .6em;
 border-bottom:1px solid rgba(128,128,128,.5)}
.blended.blended table td{padding:.2em .6em;text-align:left;vertical-align:top;
 border-bottom:1px solid rgba(128,128,128,.18)}
.blended.blended table .n{text-align:right;white-space:nowrap}
.blended .best td{font-weight:600}
.blended .best td.wide{font-weight:400}
.blended .off td{opacity:.65}
.blended .wide{min-width:18em;overflow-wrap:anywhere;white-space:normal}
.blended .text{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0;padding:.5em .8em;
 border-left:3px solid #2e9e5b;background:rgba(128,128,128,.08)}
.blended .text.degraded{border-left-color:#c98a00}
.blended .note{margin:.15em 0}
.blended .label{opacity:.65;display:inline-block;min-width:5.5em}
.blended details{margin:0}
.blended summary{cursor:pointer}
.blended .map{overflow-x:auto}
.blended.blended .map td{border:1px solid rgba(128,128,128,.25);padding:.15em .3em;text-align:center;min-width:2.1em}
.blended.blended .map.dense td,.blended.blended .map.dense th{padding:.1em;min-width:1.25em;font-size:.85em}
.blended.blended .map th{border:0;opacity:.8;padding:.15em .4em;text-align:center}
.blended.blended .map th.row{text-align:right;white-space:nowrap;max-width:16em;overflow:hidden;text-overflow:ellipsis}
</style>"""
_PREVIEW = 160
_NUMBERS_UP_TO = 14


def ranking_html(ranking: Ranking, names: Sequence[str] | None = None) -> str:
    """A ranking as HTML: order, scores, and the pairwise matrix as a heat map.

    Args:
        ranking: The ranking.
        names: What each candidate is called, by index; default ``candidate 0`` and so on.

    Returns:
        One block of HTML. A cell of the heat map is ``sigmoid(logit)``, how likely its row beats its column;
        rows and columns are ordered best first.

    Examples:
        >>> "candidate 1" in ranking_html(Ranking.from_scores([0.1, 2.0], ranker="example"))
        True
    """
    labels = _labels(ranking, names)
    ranks = ranking.ranks
    rows = []
    for index in ranking.order:
        best = ' class="best"' if ranks[index] == 1 else ""
        rows.append(
            f'<tr{best}><td class="n">{ranks[index]}</td><td>{labels[index]}</td>'
            f'<td class="n">{wording.score(ranking.scores[index])}</td></tr>'
        )
    head = '<tr><th class="n">#</th><th>candidate</th><th class="n">score</th></tr>'
    sure = f", {ranking.confidence:.0%} sure of the first" if len(ranking.order) > 1 else ""
    notes = [_note("ranker", f"{ranking.ranker}{sure}")]
    if ranking.cut:
        cut = {("prompt" if index < 0 else labels[index]): tokens for index, tokens in ranking.cut.items()}
        notes.append(_note("cut", ", ".join(f"{name} by {tokens} tokens" for name, tokens in cut.items()), raw=True))
    return _block(f"<table>{head}{''.join(rows)}</table>", *notes, _heat_map(ranking, labels))


def result_html(result: BlendResult) -> str:
    """A result as HTML: the final text, every member, what went wrong, the times, the heat map.

    Args:
        result: The result of a call.

    Returns:
        One block of HTML.
    """
    mark = " degraded" if result.is_degraded else ""
    head = (
        '<tr><th class="n">#</th><th>model</th><th>status</th><th class="n">score</th><th class="n">time</th>'
        '<th class="n">tokens</th><th>fused</th><th class="wide">answer</th></tr>'
    )
    rows = "".join(_member_row(result, record) for record in wording.by_rank(result))
    decision = f"fused with {result.fuser}: {result.decision}" if result.fused else result.decision
    notes = [_note("decision", decision)]
    notes += [_note("degraded", why) for why in result.degraded]
    for stage, cut in result.cut.items():
        notes.append(
            _note("cut", f"{stage}: " + ", ".join(f"{name} by {tokens} tokens" for name, tokens in cut.items()))
        )
    notes.append(_note("time", wording.timings(result)))
    heat_map = ""
    if result.ranking is not None:
        names = [record.outcome.member for record in result.candidates if record.outcome.ok and not record.invalid]
        heat_map = _heat_map(result.ranking, _labels(result.ranking, names))
    return _block(
        f'<div class="note"><b>{escape(wording.headline(result))}</b></div>',
        f'<div class="text{mark}">{escape(_final_text(result))}</div>',
        f"<table>{head}{rows}</table>",
        *notes,
        heat_map,
    )


def _block(*parts: str) -> str:
    return f'{_STYLE}<div class="blended">{"".join(parts)}</div>'


def _note(label: str, text: str, *, raw: bool = False) -> str:
    return (
        f'<div class="note"><span class="label">{label}</span> {text if raw else escape(wording.printable(text))}</div>'
    )


def _labels(ranking: Ranking, names: Sequence[str] | None) -> list[str]:
    if names is None or len(names) != len(ranking.scores):
        names = [f"candidate {index}" for index in range(len(ranking.scores))]
    return [escape(wording.one_line(name, 60)) for name in names]


def _final_text(result: BlendResult) -> str:
    if result.text.strip() or result.answer is None:
        return wording.printable(result.text.strip())
    return wording.printable("\n".join(f"{call.name}({dict(call.arguments)})" for call in result.answer.tool_calls))


def _member_row(result: BlendResult, record: CandidateRecord) -> str:
    outcome = record.outcome
    kind = "best" if outcome.index == result.winner_index else "" if outcome.ok and not record.invalid else "off"
    cells = (
        f'<td class="n">{"&ndash;" if record.rank is None else record.rank}</td>'
        f'<td class="model">{escape(wording.printable(outcome.member))}</td>'
        f"<td>{escape(wording.status(record))}</td>"
        f'<td class="n">{wording.score(record.score)}</td>'
        f'<td class="n">{wording.seconds(outcome.latency_s) if outcome.attempts else "&ndash;"}</td>'
        f'<td class="n">{wording.tokens(outcome)}</td>'
        f"<td>{'&check;' if record.fused else ''}</td>"
        f'<td class="wide">{_answer(record)}</td>'
    )
    return f'<tr class="{kind}">{cells}</tr>'


def _answer(record: CandidateRecord) -> str:
    why = (record.invalid if record.outcome.ok else record.outcome.reason) or ""
    text = wording.printable(record.text or "").strip()
    if not text:
        calls = () if record.outcome.answer is None else record.outcome.answer.tool_calls
        return escape(wording.one_line(why or ", ".join(f"{call.name}()" for call in calls), 600))
    start = escape(wording.one_line(text, _PREVIEW))
    before = f"{escape(wording.one_line(why))}<br>" if why else ""
    if len(text) <= _PREVIEW and "\n" not in text:
        return before + start
    return f'{before}<details><summary>{start}</summary><div class="text">{escape(text)}</div></details>'


def _heat_map(ranking: Ranking, labels: Sequence[str]) -> str:
    if ranking.comparisons is None or len(ranking.order) < 2:
        return ""
    order = ranking.order
    with_numbers = len(order) <= _NUMBERS_UP_TO
    places = range(1, len(order) + 1)
    head = "<tr><th></th>" + "".join(f"<th>{place}</th>" for place in places) + "</tr>"
    rows = []
    for place, row in zip(places, order, strict=True):
        cells = "".join(
            _cell(ranking.comparisons[row][column], labels[row], labels[column], with_numbers)
            if row != column
            else "<td></td>"
            for column in order
        )
        rows.append(f'<tr><th class="row">{labels[row]} &nbsp;{place}</th>{cells}</tr>')
    legend = _note("matrix", "percent: how likely the row is better than the column")
    kind = "map" if with_numbers else "map dense"
    return f'<div class="{kind}"><table>{head}{"".join(rows)}</table></div>{legend}'


def _cell(logit: float, row: str, column: str, with_number: bool) -> str:
    probability = wording.sigmoid(logit)
    if math.isnan(probability):
        return f'<td title="{row} and {column} were not compared">&middot;</td>'
    # green where the row wins, red where it loses, the page's own colour in between
    strength = abs(probability - 0.5) * 1.5
    colour = f"rgba(46,158,91,{strength:.2f})" if probability >= 0.5 else f"rgba(214,69,65,{strength:.2f})"
    number = f"{probability * 100:.0f}" if with_number else ""
    title = f"{row} better than {column}: {probability:.1%} (logit {logit:.3g})"
    return f'<td title="{title}" style="background:{colour}">{number}</td>'

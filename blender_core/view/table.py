"""Render a table for the terminal, as HTML and as Markdown; texts are escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from blender_core.view.wording import printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["Cell", "Column", "Emphasis", "Table", "html_block"]

Emphasis = Literal["", "best", "good", "dim", "warning", "error"]

_RICH: dict[Emphasis, str] = {
    "": "",
    "best": "bold green",
    "good": "green",
    "dim": "dim",
    "warning": "yellow",
    "error": "red",
}
# underscores inside a word are plain text in Markdown
_MARKDOWN = re.compile(r"([\\|`*~\[\]])|((?<![^\W_])_|_(?![^\W_]))")

# Colours derive from the page's, so that light and dark pages work. Long selectors override Jupyter's, which
# align every cell to the right and stripe the rows.
_STYLE = """<style>
.blended{font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:60em}
.blended table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums;color:inherit;
 font-size:inherit}
.blended caption{text-align:left;padding:.2em 0}
.blended .model{min-width:10em;overflow-wrap:anywhere}
.blended.blended table tr:nth-child(n),.blended.blended table tr:nth-child(n):hover{background:transparent}
.blended.blended table th{font-weight:400;opacity:.65;text-align:left;padding:.15em .6em;
 border-bottom:1px solid rgba(128,128,128,.5)}
.blended.blended table td{padding:.2em .6em;text-align:left;vertical-align:top;
 border-bottom:1px solid rgba(128,128,128,.18)}
.blended.blended table tr.end td{border-bottom:1px solid rgba(128,128,128,.5)}
.blended.blended table .n{text-align:right;white-space:nowrap}
.blended.blended table td.best{font-weight:600}
.blended.blended table td.good{color:#2e9e5b}
.blended.blended table td.dim{opacity:.65}
.blended.blended table td.warning{color:#c98a00}
.blended.blended table td.error{color:#d64541}
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


@dataclass(frozen=True, slots=True)
class Column:
    """Describes a column.

    Attributes:
        heading: Its heading.
        number: Whether it holds numbers; they are aligned to the right.
        name: Whether it holds names. In a table with a wide column the terminal cuts them after 24 characters.
        wide: Whether it takes the rest of the width; the terminal cuts its texts with an ellipsis.
    """

    heading: str = ""
    number: bool = False
    name: bool = False
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """Holds a text with an emphasis.

    Attributes:
        text: The text that is shown.
        emphasis: Its style.
        more: The whole text, which HTML unfolds below ``text``.
    """

    text: str
    emphasis: Emphasis = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    r"""Holds a table for rich consoles, notebooks and Markdown; texts are untrusted.

    Attributes:
        columns: The columns.
        rows: One cell, or plain text, per column.
        title: Its title.
        breaks: Numbers of rows after which a group ends.

    Examples:
        >>> table = Table([Column("model"), Column("score", number=True)], [["a|b", Cell("0.9", "best")]])
        >>> print(table.markdown())
        | model | score |
        |---|---:|
        | a\|b | 0.9 |
        >>> "<td>a|b</td><td class=\"n best\">0.9</td>" in table.html()
        True
        >>> from rich.console import Console
        >>> Console(width=40).print(table)  # doctest: +NORMALIZE_WHITESPACE
        model  score
        ────────────
        a|b      0.9
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | str]]
    title: str = ""
    breaks: Sequence[int] = ()

    def markdown(self) -> str:
        """Render the table in GitHub's Markdown, without its title and emphasis."""
        lines = [[column.heading for column in self.columns], *([_cell(one).text for one in row] for row in self.rows)]
        head, *body = ["| " + " | ".join(map(markdown_text, line)) + " |" for line in lines]
        rule = "|" + "".join("---:|" if column.number else "---|" for column in self.columns)
        return "\n".join([head, rule, *body])

    def html(self) -> str:
        """Render the table as a fragment of HTML; ``html_block`` gives it its style."""
        caption = f"<caption>{_escaped_html(self.title)}</caption>" if self.title else ""
        head = "".join(f"<th{_classes(column)}>{_escaped_html(column.heading)}</th>" for column in self.columns)
        rows = []
        for place, row in enumerate(self.rows):
            cells = "".join(
                f"<td{_classes(column, cell.emphasis)}>{_unfolding(cell)}</td>"
                for column, cell in zip(self.columns, map(_cell, row), strict=True)
            )
            rows.append(('<tr class="end">' if place in self.breaks else "<tr>") + f"{cells}</tr>")
        return f"<table>{caption}<tr>{head}</tr>{''.join(rows)}</table>"

    def _repr_html_(self) -> str:
        return html_block(self.html())

    def __rich__(self) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        fills = any(column.wide for column in self.columns)
        table = RichTable(
            title=Text(printable(self.title), style="table.title") if self.title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            expand=fills,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            collapse_padding=True,
            header_style="dim",
            show_edge=False,
        )
        for column in self.columns:
            table.add_column(
                Text(printable(column.heading)),
                justify="right" if column.number else "left",
                overflow="ellipsis" if fills else "fold",
                no_wrap=fills,
                max_width=24 if fills and column.name else None,
                ratio=1 if column.wide else None,
            )
        for place, row in enumerate(self.rows):
            cells = [Text(printable(cell.text), style=_RICH[cell.emphasis]) for cell in map(_cell, row)]
            table.add_row(*cells, end_section=place in self.breaks)
        return table


def html_block(*parts: str) -> str:
    """Join fragments of HTML to one block with the style of the package.

    Args:
        parts: The fragments, already escaped.

    Returns:
        One block.
    """
    return f'{_STYLE}<div class="blended">{"".join(parts)}</div>'


def _cell(one: Cell | str) -> Cell:
    return Cell(one) if isinstance(one, str) else one


def markdown_text(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line."""
    plain = escape(" ".join(printable(text).split()), quote=False).replace("&gt;", ">")
    return _MARKDOWN.sub(lambda mark: f"\\{mark.group()}", plain)


def _escaped_html(text: str) -> str:
    return escape(printable(text))


def _classes(column: Column, emphasis: str = "") -> str:
    classes = [
        *(["n"] if column.number else []),
        *(["model"] if column.name else []),
        *(["wide"] if column.wide else []),
        *([emphasis] if emphasis else []),
    ]
    return f' class="{" ".join(classes)}"' if classes else ""


def _unfolding(cell: Cell) -> str:
    shown = _escaped_html(cell.text)
    if not cell.more or cell.more == cell.text:
        return shown
    return f'<details><summary>{shown}</summary><div class="text">{_escaped_html(cell.more)}</div></details>'

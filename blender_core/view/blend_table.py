"""The record of a blend as a table with bars, for what LangChain and LlamaIndex hand over as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from blender_core.view import wording
from blender_core.view.table import bare_table

__all__ = ["blend_table", "score_bars"]

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDTH = 10


def score_bars(scores: list[float | None], *, width: int = _WIDTH) -> list[str]:
    """Scores as bars: the best is full, the worst a sliver, the others lie between in proportion.

    Args:
        scores: Scores of one ranking; ``None`` where there is none.
        width: Characters of a full bar.

    Returns:
        One text a score; empty for ``None``.

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


def blend_table(blend: Mapping[str, Any]) -> Table:
    r"""Every member, best first, with its score as a bar; the title says who won.

    Args:
        blend: ``message.response_metadata["blend"]`` of LangChain, ``response.raw["blend"]`` of LlamaIndex, or
            ``BlendResult.to_dict()``.

    Returns:
        Something that a rich console prints.

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
    candidates = sorted(blend["candidates"], key=lambda one: (one["rank"] is None, one["rank"] or 0))
    table = bare_table()
    table.title = f"won: {escape(wording.printable(blend['winner']))}"
    table.title_justify = "left"
    table.add_column("#", justify="right")
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("score", no_wrap=True, min_width=_WIDTH)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("answer", ratio=1)
    for one, bar in zip(candidates, score_bars([one["score"] for one in candidates]), strict=True):
        table.add_row(*_row(one, bar, won=one["model"] == blend["winner"]))
    return table


def _row(one: Mapping[str, Any], bar: str, *, won: bool) -> list[Text | str]:
    why = one["invalid"] or one["reason"]
    calls = ", ".join(f"{call['name']}({_arguments(call['arguments'])})" for call in one["tool_calls"])
    said = Text(wording.one_line(why or one["text"] or calls), overflow="ellipsis", no_wrap=True)
    if why:
        said.stylize("red")
    return [
        Text("\u2013" if one["rank"] is None else str(one["rank"]), style="bold green" if won else ""),
        Text(wording.printable(one["model"]), style="bold green" if won else ""),
        Text(bar, style="green" if won else "cyan"),
        wording.score(one["score"]) if one["score"] is not None else "",
        wording.seconds(one["latency_s"]),
        said,
    ]


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())

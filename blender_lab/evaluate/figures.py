"""The benchmark as pictures: who wins how often, ranks, quality against comparisons, quality against time and cost.

Each function returns a ``matplotlib.figure.Figure`` that belongs to no window; ``save_figures`` writes them all.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require
from blender_core.types.ranking import Ranking
from blender_core.view import wording
from blender_lab.evaluate.report import BenchmarkReport, Kind, Row

__all__ = [
    "new_figure",
    "quality_by_comparisons",
    "quality_by_effort",
    "rank_matrix",
    "ranking_figure",
    "save_figures",
    "win_pie",
]

_BEST, _OTHER, _BLANK = "#2e9e5b", "#7f9fc4", "#bbbbbb"
_NUMBERS_UP_TO = 14


def new_figure(width: float, height: float, *, feature: str = "figures", **options: Any) -> Any:
    """Make a figure without a window, which a notebook shows without ``%matplotlib inline``.

    Args:
        width: Inches.
        height: Inches.
        feature: What needs matplotlib, for the message if it is missing.
        **options: Of ``matplotlib.figure.Figure``.

    Returns:
        The figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure", feature=feature, extra="eval").Figure(figsize=(width, height), **options)

    def as_png() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
        return buffer.getvalue()

    figure._repr_png_ = as_png
    return figure


def ranking_figure(ranking: Ranking, names: Sequence[str] | None = None, *, title: str = "") -> Any:
    """Draw a ranking.

    Args:
        ranking: The ranking, for example ``result.ranking``.
        names: What each candidate is called, by index; default ``candidate 0`` and so on.
        title: Title of the figure.

    Returns:
        A ``matplotlib.figure.Figure`` that belongs to no window: bars of the scores, best first, and next to them the
        pairwise comparisons as percent, if the ranker made some.

    Raises:
        ConfigurationError: There are not as many names as candidates.
        MissingExtraError: matplotlib is not installed.
    """
    count = len(ranking.order)
    if names is not None and len(names) != count:
        raise ConfigurationError(f"{len(names)} names for {count} candidates; give one each")
    labels = [wording.one_line(name, 40) for name in names or [f"candidate {index}" for index in range(count)]]
    compared = ranking.comparisons is not None and count > 1
    figure = new_figure(8.4 if compared else 6.4, 1.3 + 0.42 * count, feature="ranking_figure", layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=(3, 2)) if compared else [figure.add_subplot()]
    _bars(axes[0], ranking, labels)
    if compared:
        _matrix(axes[1], ranking)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _bars(axes: Any, ranking: Ranking, labels: Sequence[str]) -> None:
    scores = [ranking.scores[index] for index in ranking.order]
    known = [score for score in scores if math.isfinite(score)]
    best = ranking.ranks[ranking.best]
    colours = [_BEST if ranking.ranks[index] == best else _OTHER for index in ranking.order]
    places = range(len(scores))
    base = _base(known)
    axes.barh(
        places,
        [score - base if math.isfinite(score) else 0.0 for score in scores],
        left=base,
        color=colours,
        height=0.62,
    )
    for place, score in zip(places, scores, strict=True):
        blank = not math.isfinite(score)
        axes.annotate(
            "blank" if blank else f"{score:.3f}",
            (base if blank else score, place),
            xytext=(4, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=8,
            color=_BLANK if blank else "#444444",
        )
    axes.set_yticks(places, [f"{labels[index]}  {ranking.ranks[index]}" for index in ranking.order])
    axes.invert_yaxis()
    axes.axvline(base, color="#999999", linewidth=0.8)
    widest = max(known, default=base) - base
    axes.set_xlim(base, base + (1.18 * widest or 1.0))
    axes.set_xlabel(f"score ({ranking.ranker})")
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _base(scores: Sequence[float]) -> float:
    """Start of the bars, so that the best is the longest: 0, or a little below a negative least score."""
    if not scores or min(scores) >= 0:
        return 0.0
    return min(scores) - (0.06 * (max(scores) - min(scores)) or 1.0)


def _matrix(axes: Any, ranking: Ranking) -> None:
    order = ranking.order
    values = [
        [math.nan if row == column else 100 * ranking.preference(row, column) for column in order] for row in order
    ]
    axes.imshow(values, cmap="RdYlGn", vmin=0, vmax=100, aspect="auto", alpha=0.8)
    if len(order) <= _NUMBERS_UP_TO:
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                if not math.isnan(value):
                    axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8)
    places = range(len(order))
    axes.set_xticks(places, [str(ranking.ranks[index]) for index in order])
    axes.set_yticks(places, [str(ranking.ranks[index]) for index in order])
    axes.set_xlabel("percent: row better than column")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


_NOT_IN_NAMES = re.compile(r"[^\w.@+-]+")
_COLOURS = {
    Kind.MEMBER: "#4c72b0",
    Kind.CHANCE: "#8c8c8c",
    Kind.RANKER: "#c44e52",
    Kind.SYSTEM: "#8172b3",
    Kind.ORACLE: "#55a868",
}
_EFFORTS = {
    "latency_s": "seconds until the answer is there",
    "cost": "cost of an answer",
    "output_tokens": "tokens written for an answer",
    "seconds": "seconds to rank one prompt",
}


def win_pie(report: BenchmarkReport, *, row: str | None = None) -> Any:
    """Draw who is first how often, as in figure 1 of the LLM-Blender paper.

    Args:
        report: The report.
        row: Name of a ranker, to see what it picks; ``None`` for what the oracle puts first. Equal ones share a win.

    Returns:
        The figure.

    Raises:
        ConfigurationError: The report has no such row, or it picks nothing.
        MissingExtraError: matplotlib is not installed.
    """
    source = report.row(report.oracle, Kind.ORACLE) if row is None else report.row(row, Kind.RANKER)
    shares = sorted(((share, model) for model, share in source.picks.items() if share > 0), reverse=True)
    if not shares:
        raise ConfigurationError(f"{source.name!r} picks nothing; there is no pie to draw")
    figure = _figure(6.4, 4.6)
    axes = figure.add_subplot()
    colours = require("matplotlib", feature="figures", extra="eval").colormaps["tab20"].colors
    wedges, _ = axes.pie(
        [share for share, _ in shares],
        colors=[colours[place % len(colours)] for place in range(len(shares))],
        startangle=90,
        counterclock=False,
        wedgeprops={"edgecolor": "white", "linewidth": 1},
    )
    # names in a legend: next to thin slices they would overlap
    axes.legend(
        wedges,
        [f"{model}  {100 * share:.1f}%" for share, model in shares],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
    )
    who = f"the oracle ({report.oracle}) puts first" if row is None else f"{row} picks"
    axes.set_title(f"{report.name}: who {who}, {source.prompts} prompts")
    return figure


def rank_matrix(report: BenchmarkReport) -> Any:
    """Draw how often each member has which rank by the oracle.

    Args:
        report: The report.

    Returns:
        The figure.

    Raises:
        ConfigurationError: The oracle ranked nothing.
        MissingExtraError: matplotlib is not installed.
    """
    known = {model: row for model, row in report.rank_shares.items() if not any(map(math.isnan, row))}
    if not known:
        raise ConfigurationError("the oracle ranked no member; there is no rank matrix to draw")
    members = sorted(known, key=lambda model: sum(place * share for place, share in enumerate(known[model])))
    places = len(known[members[0]])
    figure = _figure(2.6 + 0.55 * places, 1.4 + 0.36 * len(members))
    axes = figure.add_subplot()
    values = [[100 * share for share in known[model]] for model in members]
    top = max(map(max, values)) or 1.0
    axes.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if value >= 0.5:
                colour = "white" if value > 0.6 * top else "black"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(places), [str(place + 1) for place in range(places)])
    axes.set_yticks(range(len(members)), members)
    axes.set_xlabel(f"rank by the oracle ({report.oracle}), 1 is best; equal ones share the better rank")
    axes.set_title(f"{report.name}: percent of prompts")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def quality_by_comparisons(report: BenchmarkReport, *, row: str) -> Any:
    """Draw quality against comparisons, as in the trade-off figure of the LLM-Blender paper.

    Args:
        report: The report.
        row: Name of a ranker that compares pairs.

    Returns:
        The figure.

    Raises:
        ConfigurationError: That ranker compared no pairs.
        MissingExtraError: matplotlib is not installed.
    """
    if row not in report.curves:
        raise ConfigurationError(f"{row!r} compared no pairs; rankers that did: {', '.join(report.curves) or 'none'}")
    curve = report.curves[row]
    sign = -1.0 if report.lower_is_better else 1.0
    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    for values, label, marker, colour in (
        (curve.max_logits, "MaxLogits on random pairs", "o", "#4c72b0"),
        (curve.max_wins, "MaxWins on random pairs", "s", "#dd8452"),
    ):
        axes.plot(list(values), [sign * value for value in values.values()], marker=marker, label=label, color=colour)
    pairs, quality = curve.bubble
    axes.plot([pairs], [sign * quality], "*", markersize=15, color="#c44e52", label="one bubble run", zorder=5)
    best = report.row(report.best_member, Kind.MEMBER).columns[report.primary].mean
    axes.axhline(best, color="#555555", linestyle="--", linewidth=1, label=f"best member: {report.best_member}")
    axes.set_xlabel("pairs compared for one prompt")
    axes.set_ylabel(_quality_label(report))
    axes.set_title(f"{report.name}: {row}")
    axes.legend(frameon=False, loc="best")
    _plain_axes(axes, report)
    return figure


def quality_by_effort(report: BenchmarkReport, effort: str = "latency_s") -> Any:
    """Draw quality against what an answer takes.

    Args:
        report: The report.
        effort: ``"latency_s"``, ``"cost"``, ``"output_tokens"``, or ``"seconds"`` (of ranking alone).

    Returns:
        The figure. A ranker waits for the slowest member and pays for all.

    Raises:
        ConfigurationError: No row has it.
        MissingExtraError: matplotlib is not installed.
    """
    if effort not in _EFFORTS:
        raise ConfigurationError(f"effort is {effort!r}; choose one of {', '.join(_EFFORTS)}")
    points = [
        (float(value), row.columns[report.primary].mean, row)
        for row in report.rows
        if (value := getattr(row, effort)) is not None and not math.isnan(row.columns[report.primary].mean)
    ]
    if not points:
        raise ConfigurationError(f"no row of {report.name} has {effort}; the records do not tell it")
    figure = _figure(7.2, 4.6)
    axes = figure.add_subplot()
    for kind in dict.fromkeys(row.kind for _, _, row in points):
        mine = [(x, y) for x, y, row in points if row.kind is kind]
        axes.scatter(*zip(*mine, strict=True), color=_COLOURS[kind], label=_plural(kind), s=40, zorder=3)
    if effort == "seconds":
        axes.set_xscale("log")
    drawn = [(report.row("chance", Kind.CHANCE), ":")]
    if effort == "seconds":
        drawn.insert(0, (report.row(report.best_member, Kind.MEMBER), "--"))
    for row, style in drawn:
        label = f"best member: {row.name}" if row.kind is Kind.MEMBER else "chance"
        axes.axhline(
            row.columns[report.primary].mean, color="#555555", linestyle=style, linewidth=1, label=label, zorder=1
        )
    axes.margins(x=0.18, y=0.15)
    axes.set_xlabel(_EFFORTS[effort])
    axes.set_ylabel(_quality_label(report))
    axes.set_title(f"{report.name}: quality against {effort.removesuffix('_s').replace('_', ' ')}")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain_axes(axes, report)
    _label_points(axes, points, [row.columns[report.primary].mean for row, _ in drawn])
    return figure


def save_figures(report: BenchmarkReport, folder: str | Path, *, dpi: int = 110) -> list[Path]:
    """Draw and save every figure that the report has numbers for, as PNG.

    Args:
        report: The report.
        folder: Target folder; made if missing.
        dpi: Dots an inch.

    Returns:
        The files.

    Raises:
        ConfigurationError: The folder cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    figures: dict[str, Any] = {}
    if report.row(report.oracle, Kind.ORACLE).picks:
        figures["who_wins"] = win_pie(report)
    figures |= {f"picks_{row.name}": win_pie(report, row=row.name) for row in report.rows if row.kind is Kind.RANKER}
    if any(not any(map(math.isnan, shares)) for shares in report.rank_shares.values()):
        figures["ranks"] = rank_matrix(report)
    figures |= {f"comparisons_{name}": quality_by_comparisons(report, row=name) for name in report.curves}
    for effort in _EFFORTS:
        if any(getattr(row, effort) is not None for row in report.rows):
            figures[f"quality_by_{effort.removesuffix('_s')}"] = quality_by_effort(report, effort)
    written = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            # a ranker's name may hold a path or an address; two may become one
            stem = _NOT_IN_NAMES.sub("_", name)
            path = Path(folder) / f"{stem}.png"
            number = 2
            while path in written:
                path = Path(folder) / f"{stem}-{number}.png"
                number += 1
            # no date and no version in the file: equal numbers, equal bytes
            figure.savefig(path, dpi=dpi, bbox_inches="tight", metadata={"Software": None})
            written.append(path)
    except OSError as error:
        raise ConfigurationError(f"figures cannot be written to {folder}: {error}") from error
    return written


def _figure(width: float, height: float) -> Any:
    return new_figure(width, height)


def _quality_label(report: BenchmarkReport) -> str:
    return "GPT-Rank (lower is better)" if report.lower_is_better else f"mean {report.primary}"


def _plain_axes(axes: Any, report: BenchmarkReport) -> None:
    axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if report.lower_is_better:
        axes.invert_yaxis()


def _plural(kind: Kind) -> str:
    return {Kind.CHANCE: "chance", Kind.SYSTEM: "fused answers"}.get(kind, f"{kind}s")


# possible places of a name near its point: offset in points, alignment
_PLACES = (
    (7, 0, "left", "center"),
    (-7, 0, "right", "center"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    (6, 9, "left", "bottom"),
    (6, -9, "left", "top"),
    (-6, 9, "right", "bottom"),
    (-6, -9, "right", "top"),
    (6, 18, "left", "bottom"),
    (6, -18, "left", "top"),
)
_LETTER, _LINE, _SIZE = 4.6, 9.0, 8  # width and height of text in points, at this font size


def _label_points(axes: Any, points: Sequence[tuple[float, float, Row]], lines: Sequence[float]) -> None:
    """Write names near points, each at the first place free of names, points, lines and edges."""
    to_points = 72.0 / axes.figure.dpi
    spots = [tuple(to_points * value for value in axes.transData.transform((x, y))) for x, y, _ in points]
    left, bottom, right, top = (to_points * value for value in axes.get_window_extent().extents)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    for line in lines:
        y = to_points * axes.transData.transform((points[0][0], line))[1]
        taken.append((left, y - 1, right, y + 1))
    # what lies outside of the axes counts as taken
    far = 1e4
    taken += [(-far, -far, left, far), (right, -far, far, far), (left, -far, right, bottom), (left, top, right, far)]
    for (x, y), (at_x, at_y, row) in zip(spots, points, strict=True):
        boxes = [_box(x + dx, y + dy, len(row.name), across, along) for dx, dy, across, along in _PLACES]
        costs = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = costs.index(min(costs))
        dx, dy, across, along = _PLACES[best]
        taken.append(boxes[best])
        axes.annotate(
            row.name,
            (at_x, at_y),
            xytext=(dx, dy),
            textcoords="offset points",
            fontsize=_SIZE,
            ha=across,
            va=along,
            zorder=4,
        )


def _box(x: float, y: float, letters: int, across: str, along: str) -> tuple[float, float, float, float]:
    width = letters * _LETTER
    left = x - width * {"left": 0.0, "center": 0.5, "right": 1.0}[across]
    bottom = y - _LINE * {"bottom": 0.0, "center": 0.5, "top": 1.0}[along]
    return left, bottom, left + width, bottom + _LINE


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)

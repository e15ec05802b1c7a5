"""A ranking as a figure: every candidate's score, and who beats whom if pairs were compared."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require
from blender_core.types.ranking import Ranking
from blender_core.view import wording

__all__ = ["new_figure", "ranking_figure"]

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
    assert ranking.comparisons is not None
    order = ranking.order
    values = [
        [math.nan if row == column else 100 * wording.sigmoid(ranking.comparisons[row][column]) for column in order]
        for row in order
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

"""The figure of a ranking says what the ranking says."""

import math

import pytest

pytest.importorskip("matplotlib")

from blender_core.errors import ConfigurationError
from blender_core.types.ranking import Ranking
from blender_lab import ranking_figure


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_bars_are_ordered_best_first_with_their_ranks():
    ranking = Ranking.from_scores([0.2, 1.5, -math.inf, 0.2], ranker="example")
    figure = ranking_figure(ranking, ["a", "b", "c", "d"], title="Who?")
    (bars,) = figure.axes
    assert labels(bars) == ["b  1", "a  2", "d  2", "c  4"]
    assert [round(bar.get_width(), 3) for bar in bars.patches] == [1.5, 0.2, 0.2, 0.0]
    assert [text.get_text() for text in bars.texts] == ["1.500", "0.200", "0.200", "blank"]
    # what a notebook asks for
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_best_has_the_longest_bar_when_scores_are_negative():
    ranking = Ranking.from_scores([-0.2, -0.8, -0.001, -math.inf], ranker="example")
    (bars,) = ranking_figure(ranking).axes
    widths = [bar.get_width() for bar in bars.patches]
    assert widths[:3] == sorted(widths[:3], reverse=True)
    assert widths[2] > 0 == widths[3]
    assert widths[0] - widths[2] == pytest.approx(0.799)
    assert bars.get_xlim()[0] < -0.8


@pytest.mark.parametrize("score", [-3.0, 0.0, -math.inf])
def test_equal_scores_have_equal_bars(score):
    (bars,) = ranking_figure(Ranking.from_scores([score, score], ranker="example")).axes
    first, second = bars.patches
    assert first.get_width() == second.get_width() >= 0
    assert bars.get_xlim()[0] < bars.get_xlim()[1]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_comparisons_are_percent_of_row_against_column(temperature):
    logit = temperature * math.log(3)
    ranking = Ranking.from_scores(
        [0.0, logit], ranker="pairs", comparisons=[[math.nan, -logit], [logit, 0]], temperature=temperature
    )
    assert ranking.confidence == pytest.approx(0.75)
    bars, matrix = ranking_figure(ranking).axes
    assert labels(bars) == ["candidate 1  1", "candidate 0  2"]
    assert [text.get_text() for text in matrix.texts] == ["75", "25"]


def test_every_candidate_needs_its_name():
    with pytest.raises(ConfigurationError, match="1 names for 2 candidates"):
        ranking_figure(Ranking.from_scores([0.0, 1.0], ranker="example"), ["a"])

"""The table of a blend's record: who won, bars that follow the scores, what went wrong."""

from rich.console import Console

from blender_core import Blender, GatherPolicy, RetryPolicy
from blender_core.testing import FakeMember, FakeRanker
from blender_core.view import blend_table
from blender_core.view.result import score_bars


def shown(blend):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(blend_table(blend))
    return capture.get()


def test_members_stand_best_first_and_failures_last():
    members = [
        FakeMember("[red]short[/red]", "Yes."),
        FakeMember("long", "Yes, \x1b[2Jand more."),
        FakeMember("broken", RuntimeError("no such model")),
    ]
    blender = Blender(members, ranker=FakeRanker(len), fuser=None, policy=GatherPolicy(retry=RetryPolicy(retries=0)))
    text = shown(blender.blend("Is it?").to_dict())
    assert text.startswith("won: long")
    lines = text.splitlines()
    rows = [next(place for place, line in enumerate(lines) if name in line and place) for name in ("long", "short")]
    assert rows == sorted(rows)
    assert "no such model" in lines[-1]
    # a model's name and text are data: neither markup nor control codes
    assert "[red]short[/red]" in text
    assert "\x1b" not in text


def test_bars_are_longer_for_better_scores():
    bars = score_bars([0.3, -2.0, 4.0, None, 1.0])
    assert len(bars[2]) == 10
    assert len(bars[1]) == 1
    assert len(bars[0]) < len(bars[4]) < len(bars[2])
    assert bars[3] == ""


def test_equal_scores_have_equal_bars():
    assert len(set(score_bars([0.5, 0.5]))) == 1

"""What the views show, and that no text can break out of them."""

from __future__ import annotations

import asyncio
import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from blender_core import Answer, Blender, Ranking, ToolCall
from blender_core.errors import RateLimitedError
from blender_core.events import FusionRejected, Token
from blender_core.gather.policy import GatherPolicy, RetryPolicy
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from blender_core.view import wording
from blender_core.view.live import LiveBlend, watch_in_lines
from blender_core.view.result import ranking_html, ranking_table, result_html, result_table

NASTY = '<script>alert("x")</script> [bold red]markup[/] \x1b[2J\x9b31m & \u202egnp'
POLICY = GatherPolicy(timeout=5, retry=RetryPolicy(retries=0))


class MatrixRanker:
    name = "matrix"

    def rank(self, prompt, candidates):
        lengths = [len(text) for text in candidates]
        matrix = [[float(a - b) for b in lengths] for a in lengths]
        return Ranking.from_scores(lengths, ranker=self.name, comparisons=matrix, cut={0: 4})


def blend(*members, **options):
    options = {"ranker": MatrixRanker(), "fuse_when": "always", "policy": POLICY, **options}
    return Blender(members, **options).blend("Why?")


@pytest.fixture
def result():
    return blend(
        FakeMember("short", "blue"),
        FakeMember("long", "because of scattering"),
        FakeMember("limited", RateLimitedError("quota exceeded")),
        fuser=FakeFuser("blue, because of scattering"),
    )


def shown(renderable, width=100):
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


class Checker(HTMLParser):
    """Collects the tags and sees that they nest."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker.seen


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_tells_everything(result, width):
    text = " ".join(shown(result, width).split())
    for told in ("long", "short", "quota exceeded", "rate limited", "fused from long, short", "gather", "cut"):
        assert told in text
    assert max(len(line) for line in shown(result, width).splitlines()) <= width


def test_table_is_ordered_by_rank(result):
    lines = shown(result_table(result)).splitlines()
    models = [line.split()[1] for line in lines[2:5]]
    assert models == ["long", "short", "limited"]


def test_degraded_is_told_in_both_views():
    members = (FakeMember("a", "one answer"), FakeMember("b", "two"))
    result = blend(*members, fuser=FakeFuser(error=RuntimeError("reset by peer")))
    assert "reset by peer" in shown(result)
    assert "reset by peer" in result._repr_html_()


def test_terminal_control_and_markup_are_shown_not_obeyed():
    result = blend(FakeMember(f"m{NASTY}", NASTY), FakeMember("b", "x"), fuser=None)
    text = shown(result, 160)
    assert "[bold red]markup[/]" in text
    assert not {"\x1b", "\x9b", "\u202e"} & set(text)


def test_html_is_escaped():
    result = blend(FakeMember(f"m{NASTY}", NASTY), FakeMember("b", f"{NASTY}\n2"), fuser=None)
    for page in (result_html(result), ranking_html(result.ranking, [NASTY, NASTY])):
        assert "script" not in tags(page)
        assert "&lt;script&gt;" in page
        assert "\x1b" not in page


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.text())
def test_any_text_gives_well_formed_html(names, text):
    ranking = Ranking.from_scores(range(len(names)), ranker=text, comparisons=[[0.5] * len(names)] * len(names))
    allowed = {"style", "div", "table", "tr", "th", "td", "span"}
    assert tags(ranking_html(ranking, names)) <= allowed


def test_html_of_a_result_is_well_formed(result):
    page = result._repr_html_()
    assert {"table", "div"} <= tags(page)
    for told in ("fused from long, short", "quota exceeded", "gather"):
        assert told in page


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_heat_map_for_any_number_of_candidates(count):
    matrix = [[0.0 if i == j else math.nan if i + j == 2 else float(i - j) for j in range(count)] for i in range(count)]
    ranking = Ranking.from_scores(range(count), ranker="r", comparisons=matrix)
    page = ranking._repr_html_()
    tags(page)
    # each pair has two cells, the diagonal none
    assert page.count('<td title="') == (count * (count - 1) if count > 1 else 0)
    assert page.count("not compared") == (2 if count > 2 else 0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_heat_map_percentages_are_those_of_the_confidence(temperature):
    logit = temperature * math.log(3)
    ranking = Ranking.from_scores(
        [logit, 0], ranker="r", comparisons=[[0, logit], [-logit, 0]], temperature=temperature
    )
    page = ranking_html(ranking, ["x", "y"])
    assert "75% that the first is better" in page
    assert ">75</td>" in page
    assert ">25</td>" in page
    assert "x better than y: 75.0%" in page


def test_ranking_table():
    ranking = FakeRanker().rank("Q", ["a", "", "abc"])
    text = shown(ranking_table(ranking, ["first", "second", "third"], ["a", "", "abc"]))
    assert text.index("third") < text.index("first") < text.index("second")
    assert "(blank)" in text


def test_tool_calls_are_shown():
    member = FakeMember("a", Answer("", tool_calls=(ToolCall("weather", {"city": "Oslo"}),)))
    result = blend(member)
    assert "weather({'city': 'Oslo'})" in shown(result)
    assert "weather" in result._repr_html_()


def test_live_view_follows_the_events():
    members = [FakeMember("a", "a long answer"), FakeMember("b", "short"), FakeMember("bad", ValueError("no key"))]
    blender = Blender(members, ranker=FakeRanker(), fuser=FakeFuser("a fused text"), fuse_when="always", policy=POLICY)
    view = LiveBlend(["a", "b", "bad"], clock=lambda: 0.0)
    assert shown(view).count("waiting") == 3
    lines: list[str] = []
    console = Console(width=200, force_terminal=False)

    async def follow():
        with console.capture() as captured:
            take = watch_in_lines(console)
            async for event in blender.astream("Why?"):
                view.take(event)
                take(event)
        lines.extend(captured.get().splitlines())

    asyncio.run(follow())
    text = shown(view)
    assert all(told in text for told in ("a long answer", "no key", "fusing a, b with fake", "a fused text"))
    assert any(line.startswith("bad: error") for line in lines)
    assert any("a is first" in line for line in lines)
    assert lines[-1] == "fusing a, b with fake"


def test_live_view_takes_back_a_refused_text():
    view = LiveBlend(["a"])
    view.take(Token("nonsense nonsense"))
    view.take(FusionRejected("it repeats itself", 17))
    view.take(Token("picked"))
    text = shown(view)
    assert "nonsense" not in text
    assert "it repeats itself" in text
    assert "picked" in text


@given(st.text())
def test_printable_and_one_line(text):
    assert not any(ord(char) < 32 and char not in "\t\n" for char in wording.printable(text))
    line = wording.one_line(text, 20)
    assert len(line) <= 20
    assert "\n" not in line


@given(st.floats())
def test_sigmoid(logit):
    probability = wording.sigmoid(logit)
    assert math.isnan(probability) if math.isnan(logit) else 0 <= probability <= 1


def test_tokens_that_nobody_counted_are_unknown():
    result = Blender([lambda question: "Paris."], fuser=None).blend("Capital of France?")
    assert wording.timings(result).endswith("tokens unknown")


@pytest.mark.parametrize("end", ["\r\n", "\u2028", "\u2029"])
def test_other_line_separators_end_a_line(end):
    text = f"one{end}two"
    assert wording.printable(text).split("\n") == ["one", "two"]
    assert wording.one_line(text) == "one two"


@pytest.mark.parametrize("control", ["\x1b", "\x9b", "\x85", "\x0c", "\u202e", "\u2066", "\u206f", "\ufff9", "\ud800"])
def test_other_controls_are_replaced(control):
    assert wording.printable(f"a{control}b") == "a\ufffdb"

"""One table, three readers: nothing that a cell holds breaks out of the terminal, the page or the document."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from blender_core.view import Cell, Column, Table

NASTY = "<b>x</b> [bold red]y[/] \x1b[2J a|b `c` *d* _e_ &amp;\nnext"


def shown(table, width=80):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def page_texts(page):
    class Texts(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.texts = [], []

        def handle_starttag(self, tag, attributes):
            self.tags.append(tag)

        def handle_data(self, data):
            self.texts.append(data)

    parser = Texts()
    parser.feed(page)
    parser.close()
    return parser.tags, parser.texts


@pytest.fixture
def table():
    columns = [Column("name", name=True), Column("score", number=True), Column("said", wide=True)]
    rows = [["a", Cell("0.9", "best"), Cell("start", more="start and\nthe rest")], [NASTY, "0.1", NASTY]]
    return Table(columns, rows, title="[Title] <i>", breaks=(0,))


def test_the_terminal_obeys_no_markup_and_no_control_code(table):
    text = shown(table, 160)
    assert "[bold red]" in text
    assert "\x1b" not in text
    assert text.startswith("[Title] <i>")
    assert shown(table, 60).index("0.9") < shown(table, 60).index("0.1")
    assert max(map(len, shown(table, 60).splitlines())) <= 60


def test_a_page_shows_every_text_and_runs_none(table):
    page = table._repr_html_()
    tags, texts = page_texts(page)
    assert not {"b", "i"} & set(tags)
    assert NASTY.replace("\x1b", "\ufffd") in texts
    assert "start and\nthe rest" in texts
    assert 'class="n best"' in page
    assert '<tr class="end">' in page


def test_a_document_has_one_line_a_row_and_its_marks_are_escaped(table):
    head, rule, first, second = table.markdown().splitlines()
    assert head == "| name | score | said |"
    assert rule == "|---|---:|---|"
    assert first == "| a | 0.9 | start |"
    assert second.split(" | ")[0] == (
        r"| &lt;b>x&lt;/b> \[bold red\]y\[/\] " "\ufffd" r"\[2J a\|b \`c\` \*d\* \_e\_ &amp;amp; next"
    )


def test_a_name_with_underscores_is_written_as_it_is():
    assert "| gpt_rank_3 |" in Table([Column()], [["gpt_rank_3"]]).markdown()


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=4))
def test_any_text_keeps_the_shape(rows):
    table = Table([Column("a"), Column("b", number=True)], rows)
    tags, _ = page_texts(table.html())
    assert tags.count("td") == 2 * len(rows)
    assert set(tags) <= {"table", "tr", "th", "td"}
    assert len(table.markdown().split("\n")) == 2 + len(rows)
    assert not {"\x1b", "\x9b"} & set(shown(table))


def test_markdown_shows_marks_of_emphasis_as_they_are():
    row = Table([Column()], [["__init__ ~~gone~~ a_b"]]).markdown().splitlines()[-1]
    assert row == r"| \_\_init\_\_ \~\~gone\~\~ a_b |"

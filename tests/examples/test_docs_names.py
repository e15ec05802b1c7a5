"""A reader sees every name's origin: no block of the README or the docs uses a name that the page does not show."""

import builtins
import re
import symtable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^[ \t]*(?:```|~~~)[ \t]*(?:python|py)\b", re.MULTILINE)


def visible_text(page):
    return COMMENT.sub("", page.read_text(encoding="utf-8"))


def global_names(table):
    """Names that a scope and the scopes in it take from the module."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for child in table.get_children():
        yield from global_names(child)


def undefined_names(blocks):
    """Names that a block loads and that neither it nor an earlier block of the page defines."""
    known = set(dir(builtins))
    for block in blocks:
        table = symtable.symtable(block, "block", "exec")
        known |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        yield from sorted(set(global_names(table)) - known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_where_its_names_come_from(page):
    text = visible_text(page)
    blocks = BLOCK.findall(text)
    assert len(blocks) == len(FENCE.findall(text)), "a fence of Python is indented or spelled in another way"
    assert list(undefined_names(blocks)) == []


@pytest.mark.parametrize(
    ("blocks", "undefined"),
    [
        (["import os.path as p\nx = p", "print(x, y)"], ["y"]),
        (["z", "z = 1"], ["z"]),
        (["def f(a, *b):\n    return a, b, f, [c for c in a], lost"], ["lost"]),
        (["def f(a): ...", "a"], ["a"]),
        (["class C:\n    d = 1\n    def m(self):\n        return d"], ["d"]),
        (["with open('x') as e:\n    e.read()", "e"], []),
    ],
)
def test_a_name_from_nowhere_is_found(blocks, undefined):
    assert list(undefined_names(blocks)) == undefined


def test_a_hidden_block_defines_nothing():
    page = "<!--- invisible-code-block: python\nx = 1\n```python\nx = 2\n```\n--->\n\n```python\nprint(x)\n```\n"
    assert BLOCK.findall(COMMENT.sub("", page)) == ["print(x)\n"]

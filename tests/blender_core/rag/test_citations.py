"""Citations: what is one, and what is none."""

import pytest

from blender_core.rag import rewrite_citations
from blender_core.rag.citations import StreamedCitations


@pytest.mark.parametrize("text", ['{"port":8080,"pages":[3]}', '{"pages": [3, 4], "port": 8080}'])
def test_lists_of_a_json_object_are_no_citations(text):
    assert rewrite_citations(text, {1: 1}).text == text
    stream = StreamedCitations({1: 1})
    assert "".join([*map(stream.feed, text), stream.close()]) == text


def test_citations_inside_a_json_text_are_citations():
    text = '{"answer": "Port 8080 [2], as is known [9].", "pages": [3]}'
    assert rewrite_citations(text, {2: 1}).text == '{"answer": "Port 8080 [1], as is known.", "pages": [3]}'


@pytest.mark.parametrize(
    ("text", "rewritten", "dropped"),
    [
        ("a [1-3].", "a [5, 6, 7].", ()),
        ("a [1\u20134].", "a [5, 6, 7].", (4,)),
        ("a [2-2].", "a [6].", ()),
        ("a [3-1].", "a [7, 5].", ()),
        ("a [1, 2-3].", "a [5, 6, 7].", ()),
    ],
)
def test_a_range_cites_every_source_between_its_ends(text, rewritten, dropped):
    found = rewrite_citations(text, {1: 5, 2: 6, 3: 7})
    assert (found.text, found.dropped) == (rewritten, dropped)


# a search that tries a run from every place in it takes minutes on these
@pytest.mark.parametrize("run", [" " * 300_000, "`" * 300_000])
def test_long_runs_are_left_as_they_are(run):
    assert rewrite_citations(f"a {run}b [1]", {1: 2}).text == f"a {run}b [2]"


def test_a_longer_run_of_backticks_opens_no_shorter_span():
    assert rewrite_citations("``a [1]`", {1: 2}).text == "``a [2]`"
    assert rewrite_citations("``a` [1]`` [1]", {1: 2}).text == "``a` [1]`` [2]"


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("see [1]\n```py\nx = a [1]", "see [3]\n```py\nx = a [1]"),
        ("see [1]\n~~~\n[1]\n~~~\nand [1].", "see [3]\n~~~\n[1]\n~~~\nand [3]."),
        ("```\n[1]\n```\n[1]\n```\n[1] in an open fence", "```\n[1]\n```\n[3]\n```\n[1] in an open fence"),
        ("[1]\n```", "[3]\n```"),
    ],
)
def test_what_a_fence_holds_is_code_until_it_closes_or_the_text_ends(text, rewritten):
    assert rewrite_citations(text, {1: 3}).text == rewritten
    stream = StreamedCitations({1: 3})
    assert "".join([*map(stream.feed, text), stream.close()]) == rewritten


def test_a_range_cites_all_that_it_spans():
    found = rewrite_citations("All say so [1-3], and [2\u20134; 6], not [3-1].", {n: n + 10 for n in range(1, 7)})
    assert found.text == "All say so [11, 12, 13], and [12, 13, 14, 16], not [13, 11]."

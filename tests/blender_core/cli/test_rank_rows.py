"""`rank` over many rows: it goes on after a bad row, and after a kill."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from blender_core.cli.app import app
from blender_core.errors import RankerError
from blender_core.rank.baselines import LongestRanker


def run(*arguments):
    return CliRunner().invoke(app, ["rank", *(str(argument) for argument in arguments)])


def row(number, *texts):
    return json.dumps({"id": number, "instruction": f"Question {number}?", "candidates": texts or ["a", "longer"]})


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(row(number) for number in range(5)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def ranked(monkeypatch):
    """The prompts that the ranker was asked, in order; "Question 3?" with a "bad" answer fails."""
    asked = []
    real = LongestRanker.rank

    def rank(self, prompt, candidates):
        asked.append(prompt)
        if "bad" in candidates:
            raise RankerError("the ranker broke")
        return real(self, prompt, candidates)

    monkeypatch.setattr(LongestRanker, "rank", rank)
    return asked


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("wrong", "code"), [('{"instruction": "x", "candidates": [}', 2), (row(3, "bad", "b"), 1)])
def test_a_bad_row_is_told_and_the_next_one_follows(tmp_path, rows, ranked, wrong, code):
    text = rows.read_text(encoding="utf-8").splitlines()
    rows.write_text("\n".join([*text[:2], wrong, *text[2:]]), encoding="utf-8")
    done = run(rows, "--ranker", "longest", "--json")
    assert [json.loads(line)["line"] for line in done.stdout.splitlines()] == [1, 2, 4, 5, 6]
    assert done.exit_code == code
    assert "rows.jsonl, line 3" in done.stderr
    # the same rows in a file; after the mend only the bad one is ranked
    out = tmp_path / "out.jsonl"
    assert run(rows, "--ranker", "longest", "--out", out).exit_code == code
    rows.write_text("\n".join([*text[:2], row(9), *text[2:]]), encoding="utf-8")
    ranked.clear()
    assert run(rows, "--ranker", "longest", "--out", out).exit_code == 0
    assert ranked == ["Question 9?"]
    assert [record["line"] for record in lines(out)] == [1, 2, 4, 5, 6, 3]


def test_rows_in_the_file_are_not_ranked_again_and_a_cut_line_is(tmp_path, rows, ranked):
    out = tmp_path / "out.jsonl"
    assert run(rows, "--ranker", "longest", "--out", out).exit_code == 0
    whole = out.read_bytes()
    assert whole.decode().splitlines() == run(rows, "--ranker", "longest", "--json").stdout.splitlines()
    out.write_bytes(whole[: whole.index(b"\n", whole.index(b"\n") + 1) + 30])
    ranked.clear()
    assert run(rows, "--ranker", "longest", "--out", out).exit_code == 0
    assert ranked == ["Question 2?", "Question 3?", "Question 4?"]
    assert out.read_bytes() == whole


def test_a_row_that_changed_is_ranked_again(tmp_path, rows, ranked):
    out = tmp_path / "out.jsonl"
    run(rows, "--ranker", "longest", "--out", out)
    rows.write_text(rows.read_text(encoding="utf-8").replace("Question 1?", "Question one?"), encoding="utf-8")
    ranked.clear()
    run(rows, "--ranker", "longest", "--out", out)
    assert ranked == ["Question one?"]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (b'{"ranker": "consensus", "instruction": "x", "candidates": []}\n', "rankings of consensus, not longest"),
        (b"a diary\n", "line 1 is no ranking"),
        (b"[1]\n", "line 1 is no ranking"),
        (b"\xff\n", "line 1 is no ranking"),
    ],
)
def test_a_file_of_something_else_stays_as_it_is(tmp_path, rows, held, told):
    out = tmp_path / "out.jsonl"
    out.write_bytes(held)
    done = run(rows, "--ranker", "longest", "--out", out)
    assert (done.exit_code, out.read_bytes()) == (2, held)
    assert told in done.stderr


def test_the_rows_are_not_overwritten(tmp_path, rows):
    before = rows.read_bytes()
    assert run(rows, "--ranker", "longest", "--out", rows).exit_code == 2
    assert run(rows, "--ranker", "longest", "--out", tmp_path / "gone" / "out.jsonl").exit_code == 2
    assert run(rows, "--prompt", "Q?", "--ranker", "longest", "--out", tmp_path / "out.jsonl").exit_code == 2
    assert rows.read_bytes() == before

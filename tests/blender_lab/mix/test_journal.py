"""The journal: what was written is there after any end of the process, and only that."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab.data.mixinstruct import Gathered, MixCandidate, Verdict
from blender_lab.mix.journal import Journal

SETTINGS = {"seed": 0, "system": "Be brief."}


def filled(path, count=4):
    with Journal(path, SETTINGS) as journal:
        for number in range(count):
            journal.add_answer(str(number), f"question {number}", MixCandidate("m", f"Antwört {number}\n\u2028"))
    return path.read_bytes()


def test_answers_and_verdicts_are_there_again(tmp_path):
    answer = MixCandidate("m", "x", {}, "greedy", Gathered("ok", latency_s=1.5, output_tokens=3))
    with Journal(tmp_path / "j", SETTINGS) as journal:
        journal.add_answer("1", "q", answer)
        journal.add_verdict("judge", "A or B?", Verdict.SAME_BAD, "Same bad")
        journal.add_verdict("judge", "B or A?", None, "hm")
    with Journal(tmp_path / "j", SETTINGS) as journal:
        assert journal.answer("1", "q", "m") == answer
        assert journal.verdict("judge", "A or B?") == (True, Verdict.SAME_BAD)
        assert journal.verdict("judge", "B or A?") == (True, None)
        assert journal.verdict("other", "A or B?") == (False, None)
        assert len(journal) == 3


def test_an_answer_belongs_to_its_prompt_and_the_newest_counts(tmp_path):
    with Journal(tmp_path / "j", {}) as journal:
        journal.add_answer("1", "q", MixCandidate("m", "old"))
        journal.add_answer("1", "q", MixCandidate("m", "new"))
        assert journal.answer("1", "q, reworded", "m") is None
    with Journal(tmp_path / "j", {}) as journal:
        assert journal.answer("1", "q", "m").text == "new"


@given(cut=st.floats(0, 1))
def test_a_file_cut_anywhere_opens_with_its_whole_lines(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "j"
    whole = filled(path)
    kept = whole[: int(cut * len(whole))]
    path.write_bytes(kept)
    with Journal(path, SETTINGS) as journal:
        answers = [journal.answer(str(number), f"question {number}", "m") for number in range(4)]
        lines = kept.count(b"\n")
        assert sum(answer is not None for answer in answers) == max(0, lines - 1)
        journal.add_answer("9", "q", MixCandidate("m", "later"))
    with Journal(path, SETTINGS) as journal:
        assert journal.answer("9", "q", "m").text == "later"


def test_other_settings_are_refused(tmp_path):
    before = filled(tmp_path / "j")
    with pytest.raises(ConfigurationError, match="seed 0, now 1"):
        Journal(tmp_path / "j", {**SETTINGS, "seed": 1})
    assert (tmp_path / "j").read_bytes() == before


def test_damage_in_the_middle_is_told(tmp_path):
    lines = filled(tmp_path / "j").splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join([*lines[:2], b"{broken\n", *lines[2:]]))
    with pytest.raises(ConfigurationError, match="line 3 is damaged"):
        Journal(tmp_path / "j", SETTINGS)
    (tmp_path / "other").write_text('{"instruction": "no journal"}\n')
    with pytest.raises(ConfigurationError, match="not a journal"):
        Journal(tmp_path / "other", SETTINGS)
    (tmp_path / "notes").write_text("no line end")
    with pytest.raises(ConfigurationError, match="not a journal"):
        Journal(tmp_path / "notes", SETTINGS)
    assert (tmp_path / "notes").read_text() == "no line end"
    with pytest.raises(ConfigurationError, match="cannot write"):
        Journal(tmp_path / "no folder" / "j", SETTINGS)


@pytest.mark.parametrize(
    "line",
    [
        {"answer": {"model": "m", "text": "x"}, "prompt": "p"},
        {"answer": {"model": "m", "text": "x"}, "id": {}, "prompt": "p"},
        {"answer": ["m", "x"], "id": "1", "prompt": "p"},
        {"answer": {"model": "m", "text": "x", "gathered": 3}, "id": "1", "prompt": "p"},
        {"verdict": "Both are great", "judge": "j", "question": "q"},
        {"verdict": "9" * 6000, "judge": "j", "question": "q"},
        {"verdict": None, "question": "q"},
        {"verdict": None, "judge": "j", "question": 7},
    ],
    ids=lambda line: str(line)[:80],
)
def test_a_line_of_another_form_is_told(line, tmp_path):
    whole = filled(tmp_path / "j")
    (tmp_path / "j").write_bytes(whole + json.dumps(line).encode() + b"\n")
    with pytest.raises(ConfigurationError, match="line 6 is damaged") as raised:
        Journal(tmp_path / "j", SETTINGS)
    # it is readable, however long the line
    assert len(str(raised.value)) < 700


@pytest.mark.parametrize("settings", ["[]", "null", "3", "[" * 9000])
def test_a_head_of_another_form_is_told(settings, tmp_path):
    (tmp_path / "j").write_text(f'{{"journal": 1, "settings": {settings}}}\n')
    with pytest.raises(ConfigurationError, match="not a journal"):
        Journal(tmp_path / "j", SETTINGS)


def test_two_writers_are_one_too_many(tmp_path):
    pytest.importorskip("fcntl")
    with Journal(tmp_path / "j", {}), pytest.raises(ConfigurationError, match="another process"):
        Journal(tmp_path / "j", {})
    Journal(tmp_path / "j", {}).close()

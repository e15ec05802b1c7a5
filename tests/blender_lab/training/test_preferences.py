"""Reading preference records."""

from __future__ import annotations

import gzip
import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab import PreferenceRecord, SourceConfig, read_records
from blender_lab.data.preferences import split_development
from blender_lab.ranker.targets import model_strengths, pair_targets
from blender_lab.training.sources import read_source

LINE = {
    "id": "1",
    "source": "mine",
    "instruction": "Hi",
    "candidates": [{"model": "a", "text": "Hello"}, {"model": "b", "text": "No"}, {"text": "Yo"}],
    "comparisons": [[0, 1, "A"], [1, 2, "tie"], [2, 0, 0.25]],
}


def test_reads_plain_and_packed_files(toy_data, tmp_path):
    assert len(list(read_records(toy_data / "train" / "toy.jsonl.gz"))) == 60
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "source": "other"}) + "\n")
    (record,) = read_records(plain, sources=["mine"])
    assert record.candidates == ("Hello", "No", "Yo")
    assert record.models == ("a", "b", "")
    assert record.scores is None
    assert record.comparisons == ((0, 1, 1.0), (1, 2, 0.5), (2, 0, 0.25))


def test_a_table_of_numbers_holds_comparisons():
    record = PreferenceRecord.from_dict({**LINE, "comparisons": [[0.0, 1.0, 0.25]], "teacher": [(2.0, 1, 3)]})
    assert (record.comparisons, record.teacher) == (((0, 1, 0.25),), ((2, 1, 3.0),))


@pytest.mark.parametrize(
    "change",
    [
        {"comparisons": [[0, 1, "C"]]},
        {"comparisons": [[0, 7, "A"]]},
        {"comparisons": [[0, 1, 1.5]]},
        {"candidates": None},
        {"candidates": [{"model": "a"}]},
        {"comparisons": [[0, 1]]},
        {"comparisons": [[0.5, 1, "A"]]},
        {"comparisons": ["01A"]},
        {"comparisons": 3},
        {"teacher": [[0, 1, "high"]]},
        {"teacher": [[0, 1]]},
        {"candidates": [{"text": None}, {"text": "Hello"}]},
        {"candidates": [{"text": "No", "score": 10**400}, {"text": "Hello", "score": 1}]},
        {"candidates": ["No", "Hello"]},
        {"instruction": None},
        {"meta": "here"},
    ],
)
def test_unusable_lines(change):
    with pytest.raises(ConfigurationError):
        PreferenceRecord.from_dict({**LINE, **change})


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigurationError, match="no data file"):
        list(read_records(tmp_path / "none.jsonl.gz"))
    with pytest.raises(ConfigurationError, match="no data file"):
        list(read_records(tmp_path))


GOOD = json.dumps(LINE).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"{]",
        b"[1, 2]",
        b"null",
        b'"text"',
        b'{"id": "1"}',
        b'{"id": "\xff"}',
        b"9" * 5000,
        b"[" * 100_000,
        json.dumps({**LINE, "comparisons": [[0, 1, "C"]]}).encode(),
        json.dumps({**LINE, "comparisons": [[0, 9, "A"]]}).encode(),
        json.dumps({**LINE, "instruction": None}).encode(),
    ],
)
@pytest.mark.parametrize("name", ["broken.jsonl", "broken.jsonl.gz"])
def test_a_broken_line_is_named(line, name, tmp_path):
    content = b"\n".join([GOOD, b"", line, GOOD])
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for read in (lambda: read_records(path), lambda: read_source(SourceConfig(file=name), tmp_path)):
        with pytest.raises(ConfigurationError, match=rf"{re.escape(str(path))}, line 3\b"):
            list(read())


def test_a_damaged_archive(tmp_path):
    rng = random.Random(0)
    lines = [json.dumps({**LINE, "instruction": str(rng.random())}).encode() for _ in range(2000)]
    packed = gzip.compress(b"\n".join(lines))
    middle = len(packed) // 2
    damages = {
        "plain": b"\n".join(lines),
        "cut": packed[:middle],
        "middle": packed[:middle] + b"\xff" * 64 + packed[middle + 64 :],
        "empty": b"\x1f\x8b",
    }
    for name, damaged in damages.items():
        path = tmp_path / f"{name}.jsonl.gz"
        path.write_bytes(damaged)
        with pytest.raises(
            ConfigurationError, match=rf"{re.escape(str(path))}(, line \d+| cannot be read after line \d)"
        ):
            list(read_records(path))


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "marked.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n")
    (record,) = read_records(path)
    assert record.prompt == "Hi"
    assert list(read_source(SourceConfig(file="marked.jsonl"), tmp_path)) == [record]


@given(st.lists(st.text(max_size=10), max_size=20), st.floats(0, 1), st.integers(0, 5))
def test_equal_prompts_stay_on_one_side(prompts, share, seed):
    records = [PreferenceRecord(str(n), "s", prompt, ("a",), ("",), None, ()) for n, prompt in enumerate(prompts)]
    train, development = split_development(records, share, seed)
    assert len(train) + len(development) == len(records)
    assert not {record.prompt for record in train} & {record.prompt for record in development}


def test_split_share(toy_data):
    records = list(read_records(toy_data / "train" / "toy.jsonl.gz"))
    assert split_development(records, 0.0)[1] == []
    assert split_development(records, 1.0)[0] == []
    assert 5 < len(split_development(records, 0.3)[1]) < 35


def record(scores=None, comparisons=(), models=("a", "b", "c")):
    return PreferenceRecord("1", "s", "p", ("x", "y", "z"), models, scores, comparisons)


def test_right_or_wrong_leaves_no_doubt():
    assert pair_targets(record((1.0, 0.0, 1.0))) == [(0, 1, 1.0), (1, 2, 0.0)]


def test_graded_scores_are_soft_and_know_ties():
    targets = {(i, j): p for i, j, p in pair_targets(record((9.0, 5.0, 9.0)))}
    assert 0.9 < targets[0, 1] < 1.0
    assert targets[0, 2] == 0.5
    assert targets[1, 2] == pytest.approx(1 - targets[0, 1])


def test_comparisons_are_turned_so_that_i_comes_first():
    assert pair_targets(record(comparisons=((2, 0, 0.25), (0, 1, 1.0)))) == [(0, 2, 0.75), (0, 1, 1.0)]


def test_strengths_follow_the_labels():
    labelled = [record(comparisons=((0, 1, 0.8),)), record(comparisons=((1, 2, 0.7),))]
    strengths = model_strengths(labelled)
    assert strengths["a"] > strengths["b"] > strengths["c"]
    assert sum(strengths.values()) == pytest.approx(0.0, abs=1e-9)
    targets = {(i, j): p for i, j, p in pair_targets(labelled[0], strengths=strengths)}
    assert targets[0, 1] == pytest.approx(0.8, abs=1e-3)
    assert targets[0, 2] > targets[0, 1]
    assert model_strengths([record((1.0, 0.0, 0.0))]) == {}

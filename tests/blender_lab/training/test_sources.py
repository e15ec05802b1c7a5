"""Preference data in other people's formats, from files and data sets."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab import SourceConfig
from blender_lab.training.sources import read_source, record_of_row

ROWS = [
    {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
    {"prompt": "Capital of France?", "chosen": "Paris", "rejected": "Rome"},
]


def write_lines(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def read(folder, **source):
    return list(read_source(SourceConfig(**source), folder, name="mine"))


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_chosen_and_rejected_lines(tmp_path, name):
    write_lines(tmp_path / name, ROWS)
    first, second = read(tmp_path, file=name, format="chosen_rejected")
    assert (first.prompt, first.candidates, first.comparisons) == ("2 + 2?", ("4", "5"), ((0, 1, 1.0),))
    assert (second.id, second.source) == ("2", "mine")


@given(st.text(), st.text(), st.text())
def test_any_text_is_kept_as_it_is(prompt, chosen, rejected):
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    record = record_of_row(row, format="chosen_rejected", name="mine", number=1)
    assert (record.prompt, *record.candidates) == (prompt, chosen, rejected)


@pytest.mark.parametrize(
    ("content", "calls", "text"),
    [
        ([{"type": "text", "text": "Four"}, {"type": "text", "text": "4"}], None, "Four\n4"),
        (None, [{"function": {"name": "add", "arguments": '{"a": 2}'}}], '[calls add({"a": 2})]'),
    ],
)
def test_content_in_parts_and_tool_calls(content, calls, text):
    said = {"role": "assistant", "content": content, "tool_calls": calls}
    row = {"prompt": [{"role": "user", "content": "2 + 2?"}, said, said], "chosen": [said], "rejected": "5"}
    record = record_of_row(row, format="chosen_rejected", name="mine", number=1)
    assert record.prompt == f"User: 2 + 2?\n\nAssistant: {text}\n\nAssistant: {text}"
    assert record.candidates == (text, "5")


@pytest.mark.parametrize("content", [None, 4, [{"type": "audio"}]])
def test_content_that_cannot_be_read_is_named_with_its_row(content):
    row = {"prompt": "2 + 2?", "chosen": [{"role": "assistant", "content": content}], "rejected": "5"}
    with pytest.raises(ConfigurationError, match="mine, row 7"):
        record_of_row(row, format="chosen_rejected", name="mine", number=7)


def test_other_columns_and_chat_messages(tmp_path):
    user = {"role": "user", "content": "2 + 2?"}
    row = {
        "question": [user],
        "good": [user, {"role": "assistant", "content": "4"}],
        "bad": [user, {"role": "assistant", "content": "5"}],
    }
    write_lines(tmp_path / "chat.jsonl", [row])
    columns = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    (record,) = read(tmp_path, file="chat.jsonl", format="chosen_rejected", columns=columns)
    assert (record.prompt, record.candidates) == ("2 + 2?", ("4", "5"))
    with pytest.raises(ConfigurationError, match="row 1 has no column 'answer'"):
        read(tmp_path, file="chat.jsonl", format="chosen_rejected", columns={"prompt": "answer"})


@pytest.mark.parametrize("turns", [1, 3, 5])
def test_a_chat_without_a_prompt_is_split_before_its_last_turn(turns):
    said = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}"} for n in range(turns)]
    row = {name: [*said, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    record = record_of_row(row, format="chosen_rejected", name="mine", number=1)
    assert [f"turn {n}" in record.prompt for n in range(turns)] == [True] * turns
    assert record.candidates == ("chosen", "rejected")


def test_whole_conversations_are_split_at_the_last_turn():
    head = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: 2 + 2?"
    row = {"chosen": f"{head}\n\nAssistant: 4", "rejected": f"{head}\n\nAssistant: 5"}
    record = record_of_row(row, format="chosen_rejected", name="mine", number=1)
    assert record.prompt.endswith("User: 2 + 2?")
    assert "Assistant: Hello" in record.prompt
    assert record.candidates == ("4", "5")


@pytest.mark.parametrize(
    ("label", "probability"),
    [("A", 1.0), ("b", 0.0), ("tie", 0.5), ("model_a", 1.0), ("tie (bothbad)", 0.5), (0.8, 0.8), (1, 1.0), (0, 0.0)],
)
def test_labelled_pairs(label, probability):
    row = {"prompt": "p", "a": "x", "b": "y", "label": label}
    assert record_of_row(row, format="pair", name="mine", number=1).comparisons == ((0, 1, probability),)


@pytest.mark.parametrize("label", ["C", 1.5, None, True])
def test_labels_that_say_nothing(label):
    with pytest.raises(ConfigurationError, match="row 7"):
        record_of_row({"prompt": "p", "a": "x", "b": "y", "label": label}, format="pair", name="mine", number=7)


def mix_row(**changes):
    """A record in MixInstruct's schema."""
    row = {
        "id": "unified_chip2/1",
        "instruction": "Sum the numbers.",
        "input": "2 and 3",
        "output": "5",
        "candidates": [
            {
                "decoding_method": "top_p_sampling",
                "model": f"m{number}",
                "text": text,
                "scores": {"bartscore": score, "bertscore": 0.5},
            }
            for number, (text, score) in enumerate([("5", -1.0), ("6", -3.0), ("five", -2.0)])
        ],
        "cmp_results": json.dumps({"m0,m1": "A is better", "m2,m1": "A is better", "m0,m2": "Same good"}),
    }
    return {**row, **changes}


def test_mixinstruct_takes_the_verdicts(tmp_path):
    write_lines(tmp_path / "mix.jsonl", [mix_row()])
    (record,) = read(tmp_path, file="mix.jsonl", format="mixinstruct")
    assert "Sum the numbers." in record.prompt
    assert "2 and 3" in record.prompt
    assert record.candidates == ("5", "6", "five")
    assert record.scores is None
    assert set(record.comparisons) == {(0, 1, 1.0), (2, 1, 1.0), (0, 2, 0.5)}


def test_mixinstruct_without_verdicts_takes_the_metric(tmp_path):
    write_lines(tmp_path / "mix.jsonl", [mix_row(cmp_results=None)])
    (record,) = read(tmp_path, file="mix.jsonl", format="mixinstruct")
    assert record.scores == (-1.0, -3.0, -2.0)
    with pytest.raises(ConfigurationError, match="rouge"):
        read(tmp_path, file="mix.jsonl", format="mixinstruct", metric="rouge")


def test_mixinstruct_verdicts_on_strangers():
    row = mix_row(cmp_results=json.dumps({"m0,gpt": "A is better"}))
    with pytest.raises(ConfigurationError, match="gpt"):
        record_of_row(row, format="mixinstruct", name="mine", number=1)


@pytest.mark.parametrize(
    "text", ['{"prompt": "p", "chosen": "x"}', '{"prompt": 3, "chosen": "x", "rejected": "y"}', "[1]", "{"]
)
def test_lines_that_cannot_be_read_name_their_place(tmp_path, text):
    (tmp_path / "log.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + text + "\n")
    with pytest.raises(ConfigurationError, match=r"(row|line) 2"):
        read(tmp_path, file="log.jsonl", format="chosen_rejected")


def test_data_sets_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(ROWS)
    wanted = ["2 + 2?", "Capital of France?"]
    # as Dataset.save_to_disk leaves it, alone and with splits
    table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": table.select([1]), "test": table.select([0])}).save_to_disk(tmp_path / "splits")
    saved = read(tmp_path, dataset="saved", format="chosen_rejected")
    assert [record.prompt for record in saved] == wanted
    (held_out,) = read(tmp_path, dataset="splits", split="test", format="chosen_rejected")
    assert held_out.candidates == ("4", "5")
    # a folder as the hub has it, and single files
    (tmp_path / "hub").mkdir()
    table.to_parquet(tmp_path / "hub" / "train-00000-of-00001.parquet")
    for source in ({"dataset": "hub"}, {"file": "hub/train-00000-of-00001.parquet"}):
        records = read(tmp_path, format="chosen_rejected", **source)
        assert [record.prompt for record in records] == wanted
    # rows in memory
    in_memory = [record_of_row(row, format="chosen_rejected", name="mine", number=1).prompt for row in table]
    assert in_memory == wanted


def test_a_split_that_is_not_there(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "splits")
    with pytest.raises(ConfigurationError, match="split other"):
        read(tmp_path, dataset="splits", split="other", format="chosen_rejected")

"""Settings of the wrong type or out of their range are refused by name, for all three kinds of runs."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab import FuserTrainingConfig, RankerTrainingConfig, RewardHeadConfig
from blender_lab.training.settings import Range

SOURCES = {"mine": {"file": "f"}}
RANKER = {"encoder": "e", "output": "o", "sources": SOURCES}
FUSER = {"model": "m", "output": "o", "files": ["f"]}
HEAD = {"reader": {"model": "m"}, "output": "o", "sources": SOURCES}
MADE = {
    "ranker": (RankerTrainingConfig, RANKER),
    "fuser": (FuserTrainingConfig, FUSER),
    "head": (RewardHeadConfig, HEAD),
}


def refused(kind, change):
    config, settings = MADE[kind]
    with pytest.raises(ConfigurationError) as caught:
        config.from_dict({**settings, **change})
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("ranker", "bfloat16", "no"),
        ("ranker", "soft_labels", "no"),
        ("ranker", "soft_labels", 0),
        ("ranker", "learning_rate", -1),
        ("ranker", "learning_rate", float("nan")),
        ("ranker", "learning_rate", float("inf")),
        ("ranker", "learning_rate", 10**400),
        ("ranker", "learning_rate", "1e-3"),
        ("ranker", "learning_rate", True),
        ("ranker", "head_learning_rate", -1e-3),
        ("ranker", "weight_decay", -0.1),
        ("ranker", "head_size", 0),
        ("ranker", "tokens_per_batch", 0),
        ("ranker", "development_share", -1),
        ("ranker", "development_share", 1.0),
        ("ranker", "minutes", "x"),
        ("ranker", "minutes", -1),
        ("ranker", "seed", -1),
        ("ranker", "seed", 2**32),
        ("ranker", "seed", 1.0),
        ("ranker", "dropout", 2),
        ("ranker", "warmup", 1),
        ("ranker", "threads", 0),
        ("ranker", "steps", "10"),
        ("ranker", "steps", True),
        ("ranker", "steps", 1.5),
        ("ranker", "sources", []),
        ("ranker", "sources", None),
        ("ranker", "teacher", "longest"),
        ("ranker", "stages", {"max_tokens": 64}),
        ("ranker", "stages", 64),
        ("ranker", "average", [1]),
        ("ranker", "average_rankers", [1]),
        ("ranker", "form", "three"),
        ("ranker", "encoder", 3),
        ("ranker", "notes", None),
        ("fuser", "epochs", 0),
        ("fuser", "epochs", "3"),
        ("fuser", "learning_rate", -1),
        ("fuser", "files", 3),
        ("fuser", "seed", 2**32),
        ("fuser", "threads", -1),
        ("fuser", "top_k", 0),
        ("fuser", "candidate_max_length", 0),
        ("fuser", "shuffle", "no"),
        ("fuser", "lora", 8),
        ("fuser", "generation", []),
        ("fuser", "device", "tpu"),
        ("head", "decays", 0.1),
        ("head", "decays", ["0.1"]),
        ("head", "decays", [float("nan")]),
        ("head", "development_share", "x"),
        ("head", "threads", 0),
        ("head", "seed", -1),
        ("head", "reader", "qwen"),
    ],
)
def test_a_setting_that_cannot_work_is_named(kind, key, value):
    assert re.match(rf"{key} is .*; (give|choose one of) ", refused(kind, {key: value}))


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        ("ranker", {"sources": {"mine": "f"}}, "sources.mine is 'f'; give a table"),
        ("ranker", {"sources": {"mine": {"file": "f", "share": -1}}}, "sources.mine: share is -1; give at least 0"),
        (
            "ranker",
            {"sources": {"mine": {"file": "f", "group": "5"}}},
            "sources.mine: group is '5'; give a whole number",
        ),
        ("ranker", {"sources": {"mine": {"file": "f", "colour": 1}}}, "sources.mine: unknown keys colour"),
        ("ranker", {"sources": {"mine": {"file": "f", "columns": {"a": 1}}}}, "sources.mine: columns is"),
        ("ranker", {"sources": {"mine": {}}}, "sources.mine: a source has file ''"),
        ("ranker", {"stages": [{"max_tokens": -1}]}, "stages[0]: max_tokens is -1; give at least 8"),
        ("ranker", {"stages": [{}]}, "stages[0]: max_tokens must be given"),
        ("ranker", {"teacher": {"weight": 2}}, "teacher: weight is 2; give a number in [0, 1]"),
        ("ranker", {"colour": "red"}, "unknown keys colour; known are encoder, output"),
        ("fuser", {"lora": {"rank": 0}}, "lora: rank is 0; give at least 1"),
        ("fuser", {"lora": {"target_modules": 3}}, "lora: target_modules is 3; give a text or a list"),
        ("fuser", {"files": []}, "files is empty"),
        ("head", {"reader": {"model": "m", "layers": "x"}}, "reader: layers is 'x'; give a whole number"),
        ("head", {"reader": {}}, "reader: model must be given"),
    ],
)
def test_a_setting_within_a_table_is_named_with_its_place(kind, change, named):
    assert refused(kind, change).startswith(named)


@pytest.mark.parametrize("kind", MADE)
def test_a_file_that_holds_no_table(kind, tmp_path):
    config, _ = MADE[kind]
    for content in (b"[1]", b"\xff"):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"the whole file is \[1\]|neither TOML nor JSON"):
            config.load(tmp_path / "run.json")


def test_a_lone_text_is_a_list_of_one():
    ranker = RankerTrainingConfig.from_dict(
        {**RANKER, "sources": {"toy": {"file": "f", "only": "toy"}}, "teacher": {"sources": "toy"}, "average": "a.pt"}
    )
    assert (ranker.sources["toy"].only, ranker.teacher.sources, ranker.average) == (("toy",), ("toy",), ("a.pt",))
    fuser = FuserTrainingConfig.from_dict({**FUSER, "files": "mix.jsonl", "lora": {"target_modules": "all-linear"}})
    assert (fuser.files, fuser.lora.target_modules) == (("mix.jsonl",), "all-linear")
    assert FuserTrainingConfig.from_dict({**FUSER, "lora": {"target_modules": ["q"]}}).lora.target_modules == ("q",)


@pytest.mark.parametrize("kind", MADE)
def test_settings_survive_a_file(kind):
    config, settings = MADE[kind]
    made = config.from_dict(settings)
    assert config.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_whole_numbers_serve_where_a_number_is_due():
    assert RankerTrainingConfig.from_dict({**RANKER, "minutes": 20, "weight_decay": 0}).minutes == 20


@given(st.integers(-2, 3), st.booleans(), st.booleans())
def test_a_range_holds_its_ends_where_it_says_so(value, with_low, with_high):
    allowed = Range(0, 1, with_low=with_low, with_high=with_high)
    assert (value in allowed) == ((value == 0 and with_low) or (value == 1 and with_high))
    assert str(allowed) == f"a number in {'[' if with_low else '('}0, 1{']' if with_high else ')'}"

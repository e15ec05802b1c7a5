"""Settings of the wrong type or out of their range are refused by name, for all three kinds of runs."""

from __future__ import annotations

import json
import re

import pytest

from blender_core.errors import ConfigurationError
from blender_lab import FuserTrainingConfig, RankerTrainingConfig, RewardHeadConfig, SourceConfig

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
        ("ranker", "freeze_embeddings", "no"),
        ("ranker", "tensorboard", "no"),
        ("ranker", "tensorboard", 0),
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
        ("ranker", "precision", "double"),
        ("ranker", "form", "three"),
        ("ranker", "encoder", 3),
        ("ranker", "initial", None),
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
        ("head", "development_share", "x"),
        ("head", "threads", 0),
        ("head", "seed", -1),
        ("head", "decays", [float("nan")]),
        ("head", "decays", []),
        ("head", "decays", ["0.1"]),
        ("head", "reader", "qwen"),
        ("head", "sources", {}),
    ],
)
def test_a_setting_that_cannot_work_is_named(kind, key, value):
    assert re.match(rf"{key}(\[0\])? is .*; (give|choose one of) ", refused(kind, {key: value}))


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        ("ranker", {"sources": {"mine": "f"}}, "sources.mine is 'f'; give a valid table"),
        (
            "ranker",
            {"sources": {"mine": {"file": "f", "share": -1}}},
            "sources.mine.share is -1; give a number greater",
        ),
        (
            "ranker",
            {"sources": {"mine": {"file": "f", "group": "5"}}},
            "sources.mine.group is '5'; give a valid integer",
        ),
        (
            "ranker",
            {"sources": {"mine": {"file": "f", "colour": 1}}},
            "sources.mine: unknown key colour; did you",
        ),
        (
            "ranker",
            {"sources": {"mine": {"file": "f", "groups": 1}}},
            "sources.mine: unknown key groups; did you mean group?",
        ),
        ("ranker", {"sources": {"mine": {"file": "f", "columns": {"a": 1}}}}, "sources.mine.columns.a is 1; give a"),
        ("ranker", {"sources": {"mine": {}}}, "sources.mine: a source has file ''"),
        ("ranker", {"stages": [{"max_tokens": -1}]}, "stages[0].max_tokens is -1; give a number greater than or equal"),
        ("ranker", {"stages": [{}]}, "stages[0].max_tokens must be given"),
        ("ranker", {"teacher": {"weight": 2}}, "teacher.weight is 2; give a number less than or equal to 1"),
        ("ranker", {"colour": "red"}, "unknown key colour; known are output, encoder"),
        ("ranker", {"learning_rat": 1e-3}, "unknown key learning_rat; did you mean learning_rate?"),
        ("fuser", {"lora": {"rank": 0}}, "lora.rank is 0; give a number greater than or equal to 1"),
        ("fuser", {"lora": {"target_modules": 3}}, "lora.target_modules is 3; give a valid list"),
        ("fuser", {"files": []}, "files is []; give at least 1"),
        ("head", {"reader": {"model": "m", "layers": "x"}}, "reader: layers is 'x'; give a valid integer"),
        ("head", {"reader": {"model": "m", "layers": -1}}, "reader: layers is -1"),
        ("head", {"reader": {"model": "m", "shape": 1}}, "reader: unknown key shape"),
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
        with pytest.raises(ConfigurationError, match=r"holds no settings by name|neither TOML nor JSON"):
            config.load(tmp_path / "run.json")


def test_a_lone_text_is_a_list_of_one():
    ranker = RankerTrainingConfig.from_dict(
        {
            **RANKER,
            "sources": {"toy": {"file": "f", "only": "toy"}},
            "teacher": {"sources": "toy"},
            "corruptions": "drop_end",
        }
    )
    assert (ranker.sources["toy"].only, ranker.teacher.sources, ranker.corruptions) == (
        ("toy",),
        ("toy",),
        ("drop_end",),
    )
    fuser = FuserTrainingConfig.from_dict({**FUSER, "files": "mix.jsonl", "lora": {"target_modules": "all-linear"}})
    assert (fuser.files, fuser.lora.target_modules) == (("mix.jsonl",), ("all-linear",))
    assert FuserTrainingConfig.from_dict({**FUSER, "lora": {"target_modules": ["q"]}}).lora.target_modules == ("q",)


@pytest.mark.parametrize("kind", MADE)
def test_settings_survive_a_file(kind):
    config, settings = MADE[kind]
    made = config.from_dict(settings)
    assert config.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_whole_numbers_serve_where_a_number_is_due():
    assert RankerTrainingConfig.from_dict({**RANKER, "minutes": 20, "weight_decay": 0}).minutes == 20


def test_every_refused_setting_is_told_with_its_file(tmp_path):
    (tmp_path / "run.toml").write_text('encoder = "e"\noutput = "o"\nsteps = 0\nseed = -1\n[sources.a]\nfile = "f"\n')
    with pytest.raises(ConfigurationError) as caught:
        RankerTrainingConfig.load(tmp_path / "run.toml")
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'run.toml'}: steps is 0;")
    assert "seed is -1" in told


def test_settings_made_in_code_are_checked_the_same():
    made = RankerTrainingConfig(encoder="e", output="o", sources={"a": SourceConfig(file="f")})
    assert made == RankerTrainingConfig.from_dict({"encoder": "e", "output": "o", "sources": {"a": {"file": "f"}}})
    for wrong in (
        lambda: SourceConfig(file="f", group=1),
        lambda: RankerTrainingConfig(encoder="e", output="o", sources={"a": {"file": "f", "group": 1}}),
        lambda: made.replace(steps=0),
        lambda: made.replace(colour="red"),
    ):
        with pytest.raises(ConfigurationError, match=r"group is 1|steps is 0|unknown key colour"):
            wrong()
    assert (made.replace(steps=7).steps, made.steps) == (7, 1000)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        SourceConfig(file="f").group = 3

"""docs/training.md says what the code says, and every setting is described once."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("pydantic", reason="the train extra is not installed")

import blender_lab
from blender_core.rank.reward_head import ReaderSettings
from blender_lab import (
    FuserTrainingConfig,
    LoraConfig,
    RankerTrainingConfig,
    RewardHeadConfig,
    SourceConfig,
    Stage,
    TeacherConfig,
)
from blender_lab.training.sources import record_of_row

DOCS = Path(__file__).parents[3] / "docs"
DOC = DOCS / "training.md"
KINDS = [FuserTrainingConfig, LoraConfig, RankerTrainingConfig, RewardHeadConfig, SourceConfig, Stage, TeacherConfig]


def choices(kind, key):
    return get_args(kind.model_fields[key].annotation)


@pytest.mark.parametrize("kind", [*KINDS, ReaderSettings])
def test_every_setting_is_described_in_its_order(kind):
    text = re.split(r"\n\s*Attributes:\n", kind.__doc__)[1].split("\n\n")[0]
    described = re.findall(r"^ {8}(\w+): \S", text, re.M)
    names = [field.name for field in dataclasses.fields(kind)] if kind is ReaderSettings else list(kind.model_fields)
    assert described == names


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_is_described(kind):
    for key, field in kind.model_fields.items():
        for choice in filter(lambda one: isinstance(one, str), get_args(field.annotation)):
            assert f'``"{choice}"``' in kind.__doc__, key


def test_the_reference_holds_what_the_package_exports():
    text = (DOCS / "api" / "train.md").read_text(encoding="utf-8")
    assert set(blender_lab.__all__) <= set(re.findall(r"^::: blender_\w+\.(?:\w+\.)*(\w+)$", text, re.M))


@pytest.mark.parametrize("key", ["loss", "ties", "form"])
def test_every_choice_is_named(key):
    text = DOC.read_text(encoding="utf-8")
    assert choices(RankerTrainingConfig, key)
    for choice in choices(RankerTrainingConfig, key):
        assert f'`"{choice}"`' in text


def test_the_files_in_it_can_be_read():
    blocks = re.findall(r"```toml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 2
    config = RankerTrainingConfig.from_dict(tomllib.loads(blocks[0]))
    assert config.encoder == "embedded"
    heads = [block for block in blocks if "[reader]" in block]
    assert RewardHeadConfig.from_dict(tomllib.loads(heads[0])).reader.layers == 16
    # the others are parts of a file
    for block in set(blocks[1:]) - set(heads):
        RankerTrainingConfig.from_dict({**config.to_dict(), **tomllib.loads(block)})


def test_the_lines_of_data_in_it_can_be_read():
    found = re.findall(r"^`(\w+)`: .+\n(?:.+\n)*\n```json\n(.*)\n```", DOC.read_text(encoding="utf-8"), re.M)
    assert {name for name, _ in found} == set(choices(SourceConfig, "format"))
    for name, line in found:
        record = record_of_row(json.loads(line), format=name, name="doc", number=1)
        assert record.comparisons or record.scores

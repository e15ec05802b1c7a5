"""docs/training.md says what the code says."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

from blender_core.rank.reward_head import ReaderSettings
from blender_lab import RankerTrainingConfig, RewardHeadConfig
from blender_lab.ranker import config as settings
from blender_lab.training.sources import record_of_row

DOC = Path(__file__).parents[3] / "docs" / "training.md"


def described(kind):
    """Field -> its sentence in the docstring, as Markdown."""
    text = re.split(r"\n\s*Attributes:\n", kind.__doc__)[1]
    found = re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w|\Z)", text, re.M | re.S)
    return {name: " ".join(words.split()).replace("``", "`") for name, words in found}


def shown(field):
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    elif field.default is not dataclasses.MISSING:
        value = field.default
    else:
        return "required"
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        value = [dataclasses.asdict(one) for one in value]
    texts = {True: "true", False: "false", None: "none"}
    named = texts[value] if value is None or isinstance(value, bool) else None
    return f"`{named or repr(value).replace(chr(39), chr(34))}`"


def key_table(kind):
    """The table of a configuration's keys."""
    words = described(kind)
    lines = ["| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{field.name}` | {shown(field)} | {words[field.name]} |" for field in dataclasses.fields(kind)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "kind",
    [
        settings.RankerTrainingConfig,
        settings.SourceConfig,
        settings.Stage,
        settings.TeacherConfig,
        RewardHeadConfig,
        ReaderSettings,
    ],
)
def test_every_key_with_its_default_and_its_docstring(kind):
    table = key_table(kind)
    assert table in DOC.read_text(encoding="utf-8"), f"put this table of {kind.__name__} into {DOC.name}:\n{table}"


@pytest.mark.parametrize("key", ["loss", "pair_sampling", "swap", "ties", "precision", "form"])
def test_every_choice_is_named(key):
    text = DOC.read_text(encoding="utf-8")
    for choice in filter(None, settings._CHOICES[key]):
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
    assert {name for name, _ in found} == set(settings.FORMATS)
    for name, line in found:
        record = record_of_row(json.loads(line), format=name, name="doc", number=1)
        assert record.comparisons or record.scores

"""The data folder is given, or the environment names it; nobody's own folder is assumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pydantic", reason="the train extra is not installed")

from typer.testing import CliRunner

from blender_core.cli.app import app
from blender_core.errors import ConfigurationError
from blender_lab import SourceConfig
from blender_lab.data_folder import data_file, data_folder
from blender_lab.training.sources import read_source


@pytest.fixture(autouse=True)
def _no_folder_in_the_environment(monkeypatch):
    monkeypatch.delenv("BLENDER_DATA", raising=False)


def test_the_argument_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("BLENDER_DATA", "named")
    assert (data_folder(), data_folder("given")) == (Path("named"), Path("given"))
    assert data_file("a/b.jsonl") == Path("named/a/b.jsonl")


def test_without_either_it_is_asked_for(monkeypatch):
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv("BLENDER_DATA", value)
        with pytest.raises(ConfigurationError, match="give --data DIR or set BLENDER_DATA"):
            data_file("log.jsonl")


def test_an_absolute_file_needs_no_folder(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n")
    (record,) = read_source(SourceConfig(file=str(file), format="chosen_rejected"), None)
    assert record.candidates == ("a", "b")


@pytest.mark.parametrize("command", [["eval", "ranker"], ["eval", "blend", "blend_open11"]])
def test_commands_ask_for_it(command, monkeypatch, tmp_path):
    pytest.importorskip("scipy", reason="the eval extra is not installed")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, command)
    assert result.exit_code != 0
    assert "give --data DIR or set BLENDER_DATA" in " ".join(result.output.split())


def test_no_help_names_a_folder_of_its_own():
    for command in (["eval", "ranker"], ["eval", "blend"], ["train", "ranker"], ["train", "reward-head"]):
        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
        assert "BLENDER_DATA" in shown
        assert "../" not in shown

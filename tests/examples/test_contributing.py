"""CONTRIBUTING draws the house as it is: rooms, layers, and the places that it names."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ENGINE = ROOT / "blender_core"
FOLDERS = [ROOT, ENGINE, *(path for path in ENGINE.rglob("*") if path.is_dir())]
PLACES = sorted(set(re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", TEXT)))
PATHS = sorted(set(re.findall(r"`([\w./]+(?:\.(?:py|md|toml|txt)|/))`", TEXT)))


def rooms_in_the_drawing():
    rows = TEXT.split("| room of `blender_core/` |")[1].split("\n\n")[0].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    return [{name.strip("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", cell)} for cell in cells]


def test_the_rooms_are_drawn_in_the_order_of_their_layers():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["blender_core"]]
    assert rooms_in_the_drawing() == [{room.strip() for room in layer.split("|")} for layer in layers]


@pytest.mark.parametrize(("name", "path"), PLACES)
def test_a_named_place_is_there(name, path):
    code = (ROOT / path).read_text(encoding="utf-8")
    for part in name.split("."):
        assert re.search(rf"\b(?:def|class) {part}\b|^ +{part}: ", code, re.MULTILINE), f"{part} is not in {path}"


@pytest.mark.parametrize("path", PATHS)
def test_a_named_file_is_there(path):
    assert any((folder / path).exists() for folder in FOLDERS)


def test_the_questions_of_a_newcomer_are_answered():
    assert {"EmbeddedRanker.rank", "_overdue", "FusionGuard.check", "FusePolicy"} <= {name for name, _ in PLACES}
    assert {"blended_llm.members", "blended_llm.commands"} <= set(re.findall(r"`([\w.]+)`", TEXT))

"""Every recipe in the package is one that its command takes."""

from __future__ import annotations

import importlib.resources
from pathlib import PurePosixPath

import pytest

from blender_lab import FuserTrainingConfig, RankerTrainingConfig, RewardHeadConfig

RECIPES = {
    recipe.name: recipe
    for recipe in sorted(
        importlib.resources.files("blender_lab").joinpath("recipes").iterdir(), key=lambda one: one.name
    )
    if recipe.name.endswith(".toml")
}
# written by `train export` in docs/ranker.md, not by a run
EXPORTED = {"runs/second_stage"}


def loaded(name):
    kind = {"fuser": FuserTrainingConfig, "reward": RewardHeadConfig}.get(name.split("_")[0].removesuffix(".toml"))
    with importlib.resources.as_file(RECIPES[name]) as path:
        return (kind or RankerTrainingConfig).load(path)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_loads(name):
    assert loaded(name).output.startswith("runs/")


def test_each_recipe_has_a_folder_of_its_own():
    outputs = [loaded(name).output for name in RECIPES]
    assert len(set(outputs)) == len(outputs)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("embedded")])
def test_a_recipe_goes_on_from_another_recipe(name):
    outputs = {loaded(one).output for one in RECIPES}
    config = loaded(name)
    starts = [config.initial, config.encoder, config.teacher.ranker if config.teacher else ""]
    runs = [start for start in starts if start.startswith("runs/") and start not in EXPORTED]
    assert {"/".join(PurePosixPath(start).parts[:2]) for start in runs} <= outputs

"""The tiny checkpoint of the goldens, behind the old package's face."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[2] / "goldens"


@pytest.fixture(scope="session")
def folder(checkpoints, tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("compat") / "PairRM", checkpoints.ranker_config())


@pytest.fixture(scope="session")
def blender(folder):
    pytest.importorskip("torch")
    import torch

    import blender_core.compat as llm_blender

    torch.set_num_threads(1)
    blender = llm_blender.Blender()
    blender.loadranker(folder, device="cpu")
    return blender


@pytest.fixture(scope="session")
def golden():
    return json.loads((GOLDENS / "compat.json").read_text())


@pytest.fixture(scope="session")
def given(golden):
    return golden["given"]


@pytest.fixture(scope="session")
def says(golden):
    return golden["says"]

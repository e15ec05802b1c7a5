"""The tiny checkpoint of the goldens, behind the old package's face."""

from __future__ import annotations

import json

import pytest
from tiny_models import GOLDENS


@pytest.fixture(scope="session")
def blender(pairrm_folder):
    pytest.importorskip("torch")
    import torch

    import blender_core.compat as llm_blender

    torch.set_num_threads(1)
    blender = llm_blender.Blender()
    blender.loadranker(pairrm_folder, device="cpu")
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

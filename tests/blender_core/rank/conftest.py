"""Random-weight PairRanker checkpoints, the ones on which the goldens were made."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[2] / "goldens"


@pytest.fixture(scope="session")
def checkpoints():
    """The module that builds checkpoints."""
    spec = importlib.util.spec_from_file_location("pairrm_checkpoint", GOLDENS / "pairrm_checkpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def goldens():
    """What llm-blender 0.0.2 said, by request."""
    return json.loads((GOLDENS / "pairranker.json").read_text())


@pytest.fixture(scope="session")
def pairrm_folder(checkpoints, tmp_path_factory):
    """A tiny checkpoint in the layout of llm-blender/PairRM."""
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("pairrm") / "PairRM", checkpoints.ranker_config())


@pytest.fixture(scope="session")
def pairrm_hf_folder(checkpoints, tmp_path_factory):
    """The same weights in the layout of llm-blender/PairRM-hf."""
    folder = tmp_path_factory.mktemp("pairrm-hf") / "PairRM-hf"
    return checkpoints.write_checkpoint(folder, checkpoints.transformers_config(checkpoints.TINY))


@pytest.fixture(scope="session")
def ranker(pairrm_folder):
    """A loaded ranker."""
    pytest.importorskip("torch")
    import torch

    from blender_core import PairRanker

    torch.set_num_threads(1)
    return PairRanker.from_pretrained(pairrm_folder, device="cpu")

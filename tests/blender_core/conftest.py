"""Goldens, and the ranker on which they were made."""

from __future__ import annotations

import json

import pytest
from tiny_models import GOLDENS


@pytest.fixture(scope="session")
def goldens():
    """What llm-blender 0.0.2 said, by request."""
    return json.loads((GOLDENS / "pairranker.json").read_text())


@pytest.fixture(scope="session")
def ranker(pairrm_folder):
    """A loaded ranker."""
    pytest.importorskip("torch")
    import torch

    from blender_core import PairRanker

    torch.set_num_threads(1)
    return PairRanker.from_pretrained(pairrm_folder, device="cpu")

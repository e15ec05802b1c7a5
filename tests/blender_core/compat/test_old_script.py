"""A script for the old package runs with one import changed, and answers the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import blender_core.compat as llm_blender

pytest.importorskip("torch")
pytest.importorskip("transformers")

GOLDENS = Path(__file__).parents[2] / "goldens"


def test_the_old_script(folder, tmp_path):
    spec = importlib.util.spec_from_file_location("old_script", GOLDENS / "old_script.py")
    old = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(old)
    fuser = old.write_fuser(tmp_path)
    said = old.script(llm_blender, llm_blender.get_topk_candidates_from_ranks, str(folder), str(fuser))
    golden = json.loads((GOLDENS / "old_script.json").read_text())
    for name in ("rewards", "own references", "conversations"):
        np.testing.assert_allclose(said.pop(name), golden.pop(name), atol=1e-4)
    assert said == golden

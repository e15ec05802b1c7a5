"""A script for the old package runs with one import changed, and answers the same."""

from __future__ import annotations

import json

import numpy as np
import old_script
import pytest
from tiny_models import GOLDENS

import blender_core.compat as llm_blender

pytest.importorskip("torch")
pytest.importorskip("transformers")


def test_the_old_script(pairrm_folder, tmp_path):
    fuser = old_script.write_fuser(tmp_path)
    said = old_script.script(llm_blender, llm_blender.get_topk_candidates_from_ranks, str(pairrm_folder), str(fuser))
    golden = json.loads((GOLDENS / "old_script.json").read_text())
    for name in ("rewards", "own references", "conversations"):
        np.testing.assert_allclose(said.pop(name), golden.pop(name), atol=1e-4)
    assert said == golden

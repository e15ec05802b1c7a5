"""Weights in several safetensors files."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from safetensors.numpy import save_file

from blender_core import PairRanker
from blender_core.errors import CheckpointError


@pytest.fixture
def sharded(checkpoints, tmp_path):
    """The tiny checkpoint in three files, as transformers names them."""
    folder = checkpoints.write_checkpoint(tmp_path / "sharded", checkpoints.ranker_config())
    (folder / "model.safetensors").unlink()
    tensors = checkpoints.random_tensors(checkpoints.TINY)
    places = {}
    for number, names in enumerate(np.array_split(sorted(tensors), 3), start=1):
        shard = f"model-{number:05}-of-00003.safetensors"
        save_file({str(name): tensors[str(name)] for name in names}, folder / shard)
        places |= {str(name): shard for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def change(folder, edit):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    edit(index["weight_map"])
    path.write_text(json.dumps(index))


def test_shards_load(sharded, ranker):
    loaded = PairRanker.from_pretrained(sharded, device="cpu")
    assert loaded.compare("Hi", "the work", "any") == ranker.compare("Hi", "the work", "any")


def test_a_missing_shard(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00003"):
        PairRanker.from_pretrained(sharded, device="cpu")


def test_a_shard_elsewhere_is_not_read(sharded, pairrm_folder):
    change(sharded, lambda places: places.update({"head_layer.1.bias": str(pairrm_folder / "model.safetensors")}))
    with pytest.raises(CheckpointError, match="not next to it"):
        PairRanker.from_pretrained(sharded, device="cpu")


def test_an_index_that_disagrees(sharded):
    change(sharded, lambda places: places.pop("head_layer.1.bias"))
    with pytest.raises(CheckpointError, match=r"disagree about 1 tensors: head_layer\.1\.bias"):
        PairRanker.from_pretrained(sharded, device="cpu")


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}'])
def test_an_index_that_is_none(text, sharded):
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="no index"):
        PairRanker.from_pretrained(sharded, device="cpu")

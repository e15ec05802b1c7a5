"""The three checkpoint families at their published size: DeBERTa-v3-large, 394 tensors, 128,005 embeddings.

Most matrices are zero, so that the files hold holes or share storage; every LayerNorm, the first and the last layer,
the head and the embeddings of the tokens in use are random, so that the logits are not.
"""

from __future__ import annotations

import gc
import json
import math
import shutil
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from blender_core import PairRanker  # noqa: E402

LARGE = {"vocab": 128005, "hidden": 1024, "layers": 24, "heads": 16, "intermediate": 4096}
PUBLISHED_BYTES = 1_744_109_020
PUBLISHED_PARAMETERS = 436_014_081
# what the model class of 2023 had beside the head; the sizes of the mixture are a guess
UNUSED_HEADS = {
    "single_head_layer.1.weight": (1024, 1024),
    "single_head_layer.1.bias": (1024,),
    "single_head_layer.4.weight": (1, 1024),
    "single_head_layer.4.bias": (1,),
    "moe_head_layer.0.weight": (1024, 2048),
    "moe_head_layer.0.bias": (1024,),
    "single_moe_head_layer.0.weight": (1024, 1024),
    "single_moe_head_layer.0.bias": (1024,),
    "moe.experts.0.fc1.weight": (1024, 1024),
    "towers.0.fc1.weight": (1024, 1024),
    "towers.0.fc2.weight": (1, 1024),
}
SAID = ("Which terms?", "the work of any kind", "a licence")


def drawn(name, shape, used):
    """Weights for a tensor that is not all zeros, else None; the embeddings have rows of ``used`` ids only."""
    draw = np.random.RandomState(len(name))
    if "LayerNorm.weight" in name:
        return np.ones(shape, np.float32)
    if "word_embeddings" in name:
        rows = np.zeros(shape, np.float32)
        rows[used] = draw.standard_normal((len(used), shape[1]))
        return rows
    if not any(part in name for part in (".layer.0.", ".layer.23.", "head_layer", "rel_embeddings")):
        return None
    return (draw.standard_normal(shape) / math.sqrt(shape[-1])).astype(np.float32)


def sparse_safetensors(path, shapes, used):
    """The bytes that safetensors would write, with holes for the zeros."""
    header, place = {}, 0
    for name in sorted(shapes):
        size = 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + place)
        for name, entry in header.items():
            weights = drawn(name, shapes[name], used)
            if weights is None:
                continue
            # rows of zeros stay holes
            step = weights[0].nbytes
            for row in np.flatnonzero(weights.reshape(len(weights), -1).any(1)):
                file.seek(8 + len(text) + entry["data_offsets"][0] + int(row) * step)
                file.write(weights[row].tobytes())


def shared_bin(path, shapes, used):
    """A state dict in which all zeros are views of one small storage."""
    zeros = torch.zeros(4096 * 1024)
    state = {"pretrained_model.embeddings.position_ids": torch.arange(512)[None]}
    for name, shape in {**shapes, **UNUSED_HEADS}.items():
        weights = drawn(name, shape, used) if name in shapes else None
        state[name] = zeros[: math.prod(shape)].view(shape) if weights is None else torch.from_numpy(weights)
    torch.save(state, path)


@pytest.fixture(scope="module")
def tokenizer(checkpoints, tmp_path_factory):
    """The small tokenizer, with DeBERTa-v3's ids for [MASK] and the markers."""
    definition = json.loads(checkpoints.TOKENIZER.read_text())
    vocabulary = definition["model"]["vocab"]
    small = len(vocabulary)
    vocabulary += [[f"\u2581nobody says {number}", -99.0] for number in range(128000 - small)]
    for token in definition["added_tokens"]:
        if token["id"] >= small:
            token["id"] += 128000 - small
    path = tmp_path_factory.mktemp("large") / "tokenizer.json"
    path.write_text(json.dumps(definition))
    return path


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    gc.collect()
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_the_families_load_and_run(checkpoints, tokenizer, folder):
    torch.set_num_threads(1)
    shapes = checkpoints.tensor_shapes(LARGE)
    assert len(shapes) == 394
    used = [*range(400), *range(128000, 128005)]
    configs = {
        "PairRM": checkpoints.ranker_config(),
        "PairRM-hf": checkpoints.transformers_config(LARGE),
        "pair-ranker": {
            "ranker_type": "pairranker",
            "model_type": "deberta",
            "model_name": "microsoft/deberta-v3-large",
            "source_max_length": 128,
            "candidate_max_length": 128,
        },
    }
    sparse_safetensors(folder / "model.safetensors", shapes, used)
    assert (folder / "model.safetensors").stat().st_size == PUBLISHED_BYTES
    shared_bin(folder / "pytorch_model.bin", shapes, used)
    logits = {}
    for name, config in configs.items():
        checkpoint = folder / name
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text(json.dumps(config))
        shutil.copy(tokenizer, checkpoint / "tokenizer.json")
        weights = "pytorch_model.bin" if name == "pair-ranker" else "model.safetensors"
        (checkpoint / weights).hardlink_to(folder / weights)
        ranker = PairRanker.from_pretrained(checkpoint, device="cpu", dtype="float32")
        model = ranker._scorer.model
        assert sum(value.numel() for value in model.parameters()) == PUBLISHED_PARAMETERS
        assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == shapes
        logits[name] = ranker.compare(*SAID)
        del ranker, model
        gc.collect()
    assert math.isfinite(logits["PairRM"])
    assert logits["PairRM"] != 0
    assert logits["PairRM-hf"] == logits["pair-ranker"] == logits["PairRM"]

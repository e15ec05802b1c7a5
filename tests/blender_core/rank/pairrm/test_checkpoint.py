"""Checkpoints load where every tensor is accounted for, and only there."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from blender_core import PairRanker  # noqa: E402
from blender_core.errors import CheckpointError  # noqa: E402
from blender_core.rank.pairrm.checkpoint import infer_shape, load_model, read_tensors  # noqa: E402
from blender_core.rank.pairrm.model import PairRankerModel  # noqa: E402
from blender_core.rank.pairrm.settings import PairRankerSettings  # noqa: E402

LARGE = {"vocab": 128005, "hidden": 1024, "layers": 24, "heads": 16, "intermediate": 4096}


@pytest.fixture
def tensors(checkpoints):
    return checkpoints.random_tensors(checkpoints.TINY)


@pytest.fixture
def save(checkpoints, tmp_path):
    """Write a PairRM-layout checkpoint from tensors."""

    def write(tensors, **config):
        return checkpoints.write_checkpoint(tmp_path / "saved", checkpoints.ranker_config(**config), tensors=tensors)

    return write


def compare(folder):
    return PairRanker.from_pretrained(folder, device="cpu").compare("the work", "a licence", "any terms")


def test_both_layouts_give_the_same_numbers(pairrm_folder, pairrm_hf_folder):
    assert compare(pairrm_folder) == compare(pairrm_hf_folder)


def test_the_published_shapes_leave_no_tensor_over(checkpoints):
    """PairRM is 394 float32 tensors; the published file has 1,744,109,020 bytes with its header."""
    shapes = checkpoints.tensor_shapes(LARGE)
    meta = {name: torch.empty(size, device="meta") for name, size in shapes.items()}
    shape = infer_shape(meta, PairRankerSettings(1224, 412), "PairRM")
    with torch.device("meta"):
        model = PairRankerModel(shape)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == shapes
    assert len(shapes) == 394
    assert sum(value.numel() for value in model.parameters()) == 436_014_081
    assert (shape.heads, shape.position_buckets) == (16, 256)


def test_pair_ranker_of_2023(checkpoints, tensors, pairrm_folder, tmp_path):
    """A .bin file with heads that were never used, and lengths spelled in another way."""
    extra = {
        "single_head_layer.1.weight": np.zeros((2, 2), np.float32),
        "moe_head_layer.0.bias": np.zeros(2, np.float32),
        "single_moe_head_layer.0.bias": np.zeros(2, np.float32),
        "moe.experts.0.weight": np.zeros(2, np.float32),
        "towers.0.fc1.weight": np.zeros(2, np.float32),
        "pretrained_model.embeddings.position_ids": np.arange(512)[None],
    }
    folder = checkpoints.write_checkpoint(
        tmp_path / "pair-ranker",
        {
            "ranker_type": "pairranker",
            "model_type": "deberta",
            "model_name": "microsoft/deberta-v3-large",
            "source_max_length": 128,
            "candidate_max_length": 128,
        },
    )
    (folder / "model.safetensors").unlink()
    state = {name: torch.from_numpy(value) for name, value in {**tensors, **extra}.items()}
    torch.save(state, folder / "pytorch_model.bin")
    assert compare(folder) == compare(pairrm_folder)


def test_old_zipless_bin(tensors, save, pairrm_folder):
    folder = save(tensors)
    (folder / "model.safetensors").unlink()
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert compare(folder) == compare(pairrm_folder)


def test_safetensors_come_first(tensors, save):
    folder = save(tensors)
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert set(read_tensors(folder)) == set(tensors)


def test_a_pickle_with_code_is_refused(tensors, save, tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    folder = save(tensors)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Attack()}, protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read"):
        compare(folder)
    assert not (tmp_path / "owned").exists()


def test_missing_and_unknown_tensors_are_listed(tensors, save):
    del tensors["head_layer.1.bias"]
    del tensors["pretrained_model.encoder.layer.1.output.dense.bias"]
    tensors["pooler.dense.weight"] = np.zeros((3, 3), np.float32)
    tensors["head_layer.4.bias"] = np.zeros(2, np.float32)
    with pytest.raises(CheckpointError) as caught:
        compare(save(tensors))
    message = str(caught.value)
    assert "missing head_layer.1.bias [128]" in message
    assert "missing pretrained_model.encoder.layer.1.output.dense.bias [128]" in message
    assert "unknown pooler.dense.weight [3, 3]" in message
    assert "head_layer.4.bias is [2], should be [1]" in message


def test_another_network_is_named(save):
    with pytest.raises(CheckpointError, match=r"first keys: model\.embed\.weight"):
        compare(save({"model.embed.weight": np.zeros((4, 4), np.float32)}))


def test_a_width_that_heads_of_64_cannot_make(checkpoints, save):
    narrow = {**checkpoints.TINY, "hidden": 48}
    with pytest.raises(CheckpointError, match="num_attention_heads"):
        compare(save(checkpoints.random_tensors(narrow)))


def test_several_tasks_are_averaged(checkpoints, save, pairrm_folder, tensors):
    doubled = dict(tensors)
    doubled["head_layer.4.weight"] = np.concatenate([tensors["head_layer.4.weight"]] * 2)
    doubled["head_layer.4.bias"] = np.concatenate([tensors["head_layer.4.bias"]] * 2)
    assert compare(save(doubled, n_tasks=2)) == pytest.approx(compare(pairrm_folder), abs=1e-5)


def test_a_tokenizer_with_more_ids_than_embeddings(checkpoints, save):
    small = checkpoints.random_tensors({**checkpoints.TINY, "vocab": 300})
    with pytest.raises(CheckpointError, match="ids up to 404, the network 300"):
        compare(save(small))


def test_markers_that_differ_from_the_config(checkpoints, tmp_path):
    config = {**checkpoints.transformers_config(checkpoints.TINY), "cand1_prefix_id": 12}
    with pytest.raises(CheckpointError, match="markers"):
        compare(checkpoints.write_checkpoint(tmp_path / "hf", config))


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "config.json"])
def test_missing_files_are_named(missing, tensors, save):
    folder = save(tensors)
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=missing):
        compare(folder)


def test_damaged_weights(tensors, save):
    folder = save(tensors)
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(CheckpointError, match="cannot be read"):
        compare(folder)


@pytest.mark.parametrize("content", [bytes(range(256)) * 9, b"\x80\x02" + b"](" * 9000, b""], ids=len)
def test_a_damaged_bin(content, tensors, save):
    folder = save(tensors)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read"):
        compare(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_json_that_is_nested_too_deep(name, tensors, save):
    folder = save(tensors)
    if name not in {path.name for path in folder.iterdir()}:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text('{"a":' * 100_000)
    with pytest.raises(CheckpointError, match=name):
        compare(folder)


def test_a_bin_that_is_no_state_dict(tensors, save):
    folder = save(tensors)
    (folder / "model.safetensors").unlink()
    torch.save([1, 2], folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no plain state dict"):
        compare(folder)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.2), ("float16", 0.05)])
def test_half_precision(dtype, tolerance, pairrm_folder):
    half = PairRanker.from_pretrained(pairrm_folder, device="cpu", dtype=dtype)
    assert half.compare("the work", "a licence", "any terms") == pytest.approx(compare(pairrm_folder), abs=tolerance)


def test_no_gradient_is_kept(pairrm_folder):
    settings = PairRankerSettings.from_folder(pairrm_folder)
    model = load_model(pairrm_folder, settings)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert json.loads((pairrm_folder / "config.json").read_text())["model_type"] == "deberta"

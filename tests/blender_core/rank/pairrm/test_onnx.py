"""Both backends give the same numbers, and onnxruntime needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from blender_core import PairRanker
from blender_core.errors import CheckpointError, ConfigurationError

CANDIDATES = ["the work", "a licence of it and any terms of the work", "any", "terms of the licence"]
LOADED = {"device": "cpu", "backend": "onnx", "threads": 1}


def assert_same_logits(one, other, prompts=("Which ?", "the terms of a licence ? " * 5)):
    for prompt in prompts:
        for row, expected in zip(
            other.ordered_logits(prompt, CANDIDATES), one.ordered_logits(prompt, CANDIDATES), strict=True
        ):
            assert row == pytest.approx(expected, abs=1e-4)


@pytest.fixture(scope="module")
def exported(ranker, tmp_path_factory):
    """The tiny DeBERTa-v3 checkpoint, as ONNX in both precisions."""
    folder = tmp_path_factory.mktemp("onnx")
    ranker.export_onnx(folder, quantize=True)
    return folder


def test_long_texts_agree(ranker, exported):
    """Beyond the last distance bucket, and one token short of a batch."""
    onnx_ranker = PairRanker.from_pretrained(exported, **LOADED)
    for words in (1, 200, 900):
        pairs = [("the licence " * words, "the work " * 30, "any terms"), ("Which?", "a", "b")]
        assert onnx_ranker.logits(pairs) == pytest.approx(ranker.logits(pairs), abs=1e-4)


def test_int8_is_smaller_and_near(ranker, exported):
    int8 = PairRanker.from_pretrained(exported, dtype="int8", **LOADED)
    assert (exported / "model.int8.onnx").stat().st_size < (exported / "model.onnx").stat().st_size
    exact = ranker.compare("Which?", CANDIDATES[0], CANDIDATES[1])
    assert int8.compare("Which?", CANDIDATES[0], CANDIDATES[1]) != exact
    assert abs(int8.compare("Which?", CANDIDATES[0], CANDIDATES[1]) - exact) < 0.5 * abs(exact) + 0.5


def test_it_ranks_without_torch(exported):
    code = f"""
import sys
for name in ("torch", "transformers", "safetensors"):
    sys.modules[name] = None
from blender_core import PairRanker
ranking = PairRanker.from_pretrained({str(exported)!r}, device="cpu", backend="onnx").rank("Which?", ["a", "the work"])
assert sorted(ranking.order) == [0, 1]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_folder_for_both_backends(ranker, tmp_path):
    ranker.save_pretrained(tmp_path)
    ranker.export_onnx(tmp_path)
    assert_same_logits(
        PairRanker.from_pretrained(tmp_path, device="cpu"), PairRanker.from_pretrained(tmp_path, **LOADED)
    )


def test_a_calibrated_export_is_saved_again(exported, tmp_path):
    ranker = PairRanker.from_pretrained(exported, both_orders=False, **LOADED)
    pairs = [("Which?", a, b, "A") for a in CANDIDATES for b in CANDIDATES]
    fitted = ranker.calibrated(pairs)
    fitted.save_pretrained(tmp_path)
    loaded = PairRanker.from_pretrained(tmp_path, name=fitted.name, **LOADED)
    assert loaded.calibration == fitted.calibration
    assert loaded.rank("Which?", CANDIDATES) == fitted.rank("Which?", CANDIDATES)
    with pytest.raises(ConfigurationError, match="needs torch's weights"):
        fitted.save_pretrained(tmp_path, layout="pairrm-hf")


def test_errors_say_what_to_do(pairrm_folder, exported, tmp_path):
    with pytest.raises(CheckpointError, match=r"no model\.onnx.*export_onnx\(folder\)"):
        PairRanker.from_pretrained(pairrm_folder, **LOADED)
    with pytest.raises(CheckpointError, match=r"export_onnx\(folder, quantize=True\)"):
        PairRanker.from_pretrained(pairrm_folder, dtype="int8", **LOADED)
    with pytest.raises(ConfigurationError, match="float16"):
        PairRanker.from_pretrained(exported, dtype="float16", **LOADED)
    with pytest.raises(ConfigurationError, match="quantum"):
        PairRanker.from_pretrained(exported, device="quantum", backend="onnx")
    with pytest.raises(ConfigurationError, match="set_num_threads"):
        PairRanker.from_pretrained(pairrm_folder, device="cpu", threads=1)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no protobuf")
    with pytest.raises(CheckpointError, match="cannot be read"):
        PairRanker.from_pretrained(tmp_path, **LOADED)

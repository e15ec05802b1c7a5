"""What the exported files hold."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from safetensors.torch import load_file  # noqa: E402

from blender_core.models.onnx import open_session  # noqa: E402
from blender_core.rank.embedded import EmbeddedRanker  # noqa: E402
from blender_lab.ranker.export import (  # noqa: E402  # noqa: E402
    drop_softmax_guards,
    encoder_folder,
    export_onnx,
    load_scorer,
    quantize_onnx,
    unpack_ranker,
    write_ranker,
    write_settings,
)
from blender_lab.ranker.one_pass import (  # noqa: E402
    load_tokenizer,
    score_rows,
    segment_layout,
)

ANSWERS = ["sun moon star", "bread salt", "door"]


@pytest.fixture
def scorer(toy_config):
    config = toy_config()
    return load_scorer(encoder_folder(config), config).eval()


@pytest.fixture
def written(scorer, toy_config, tmp_path):
    """The folder of a ranker that was never trained."""
    tokenizer_file = encoder_folder(toy_config()) / "tokenizer.json"
    layout = segment_layout(load_tokenizer(tokenizer_file))
    write_ranker(scorer, tokenizer_file, layout, tmp_path / "ranker", max_tokens=32)
    return tmp_path / "ranker"


def scores(model, ranker):
    """Scores of the model in float32."""
    prompt = ranker._encode("sun moon")
    rows = [ranker.settings.layout.join(prompt, ranker._encode(text), 32) for text in ANSWERS]
    with torch.no_grad():
        return score_rows(model, rows, tokens_per_batch=64).tolist()


def test_attention_is_int8_and_feed_forward_blocks_are_stored_as_float16(written):
    graph = onnx.load(str(written / "model.int8.onnx")).graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    halves = [name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16]
    assert len(halves) == 2
    products = {node.name: node.op_type for node in graph.node if "MatMul" in node.op_type}
    assert products["/encoder/encoder/layer.0/intermediate/dense/MatMul"] == "MatMul"
    assert products["/encoder/encoder/layer.0/output/dense/MatMul"] == "MatMul"
    assert products["/encoder/encoder/layer.0/attention/output/dense/MatMul_quant"] == "MatMulInteger"
    assert kinds["encoder.embeddings.word_embeddings.weight_quantized"] in (
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    )


def test_what_is_stored_as_float16_is_read_back_nearly_exactly(scorer, written, tmp_path):
    ours = load_file(unpack_ranker(written, tmp_path / "unpacked") / "model.safetensors")
    matrices = {name: value for name, value in scorer.encoder.state_dict().items() if value.ndim == 2}
    assert len(matrices) == 3 + 6
    for name, value in matrices.items():
        difference = float((ours[name] - value).abs().max())
        half_step = float(value.abs().max()) * 2.0**-11
        if name.endswith(("intermediate.dense.weight", ".0.output.dense.weight")):
            assert 0.0 < difference <= half_step, name
        assert difference <= float(value.abs().max()) / 100, name
    assert EmbeddedRanker.load(written).score("sun moon", ANSWERS)[0] == pytest.approx(
        scores(scorer, EmbeddedRanker.load(written)), abs=0.05
    )


def test_a_ranker_that_was_exported_with_float32_blocks_still_loads(scorer, toy_config, written, tmp_path):
    """The form of the first releases: the second half of each block in float32, the first half int8."""
    from onnxruntime import quantization

    old = tmp_path / "old"
    old.mkdir()
    export_onnx(scorer, tmp_path / "exact.onnx")
    quantization.quantize_dynamic(
        str(tmp_path / "exact.onnx"),
        str(old / "model.int8.onnx"),
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        nodes_to_exclude=["/encoder/encoder/layer.0/output/dense/MatMul"],
    )
    shutil.copy(written / "tokenizer.json", old)
    write_settings(old, EmbeddedRanker.load(written).settings.layout, max_tokens=32, settings={})
    ranker = EmbeddedRanker.load(old)
    assert ranker.score("sun moon", ANSWERS)[0] == pytest.approx(scores(scorer, ranker), abs=0.1)
    config = toy_config(encoder=str(old), output=str(tmp_path / "run"))
    begun = load_scorer(encoder_folder(config), config).eval()
    assert scores(begun, ranker) == pytest.approx(scores(scorer, ranker), abs=0.1)
    weight = "encoder.layer.0.output.dense.weight"
    assert torch.equal(begun.encoder.state_dict()[weight], scorer.encoder.state_dict()[weight])


def test_quantising_leaves_the_float32_model_as_it_is(scorer, tmp_path):
    export_onnx(scorer, tmp_path / "exact.onnx")
    before = (tmp_path / "exact.onnx").read_bytes()
    quantize_onnx(tmp_path / "exact.onnx", tmp_path / "int8.onnx")
    assert (tmp_path / "exact.onnx").read_bytes() == before


def test_no_output_changes_without_the_guards_of_the_softmax(scorer, tmp_path):
    export_onnx(scorer, tmp_path / "exact.onnx")
    shutil.copy(tmp_path / "exact.onnx", tmp_path / "bare.onnx")
    drop_softmax_guards(tmp_path / "bare.onnx")
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "exact.onnx")).graph.node]
    left = [node.op_type for node in onnx.load(str(tmp_path / "bare.onnx")).graph.node]
    assert kinds.count("IsNaN") == kinds.count("Where") - left.count("Where") > 0
    assert "IsNaN" not in left
    # a padded batch, too: no row is masked as a whole
    ids = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    feeds = {"input_ids": ids, "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]]), "token_type_ids": ids % 2}
    before, after = (
        open_session(str(tmp_path / name), source=name, threads=1).run(None, feeds)[0]
        for name in ("exact.onnx", "bare.onnx")
    )
    assert np.array_equal(before, after)
    assert np.isfinite(before).all()

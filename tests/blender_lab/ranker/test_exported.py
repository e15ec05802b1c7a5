"""Going on from an exported ranker: the shipped one, and one's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnx")

from blender_core.errors import CheckpointError  # noqa: E402
from blender_core.rank.embedded import EmbeddedRanker  # noqa: E402
from blender_lab.ranker.export import unpack_ranker  # noqa: E402
from blender_lab.ranker.finish import finish_ranker  # noqa: E402
from blender_lab.ranker.one_pass import score_rows  # noqa: E402
from blender_lab.ranker.train import build_form, train_ranker  # noqa: E402

PROMPT = "Why is the sky blue?"
ANSWERS = [
    "Air scatters blue light more than red light, so blue reaches us from everywhere.",
    "I like trains.",
    "The sky is blue.",
    "Because of the oceans, which are blue and which it mirrors.",
]


def scores(config, prompt, answers):
    """What a run starts from, in float32."""
    form, texts = build_form(config)
    form.module.eval()
    rows = [form.layout.join(*texts.encode_batch([prompt, answer]), config.largest_window) for answer in answers]
    with torch.no_grad():
        return score_rows(form.model, rows, tokens_per_batch=4096).tolist()


def test_a_run_starts_from_the_shipped_ranker(toy_config):
    config = toy_config(encoder="embedded", head_size=384, stages=[{"max_tokens": 320}])
    shipped = EmbeddedRanker.load().score(PROMPT, ANSWERS)[0]
    # int8 activations differ from float32 ones, the weights do not
    assert scores(config, PROMPT, ANSWERS) == pytest.approx(shipped, abs=0.15)
    assert max(shipped) - min(shipped) > 1.0


def test_a_second_run_goes_on_from_the_export_of_the_first(toy_config, toy_data, tmp_path):
    first = toy_config(steps=30, output=str(tmp_path / "first"))
    train_ranker(first, data=toy_data)
    finish_ranker(first, tmp_path / "exported", data=toy_data)
    second = toy_config(encoder=str(tmp_path / "exported"), steps=2, output=str(tmp_path / "second"))
    answers = ["sun moon star", "bread salt", "door"]
    ranker = EmbeddedRanker.load(tmp_path / "exported")
    assert scores(second, "sun moon", answers) == pytest.approx(ranker.score("sun moon", answers)[0], abs=0.1)
    assert train_ranker(second, data=toy_data).steps == 2
    with pytest.raises(CheckpointError, match="set head_size = 16"):
        build_form(toy_config(encoder=str(tmp_path / "exported"), head_size=384))


def test_the_pair_form_starts_from_the_shipped_encoder(toy_config):
    settings = {"encoder": "embedded", "stages": [{"max_tokens": 64}]}
    pair, _ = build_form(toy_config(form="pair", pooling="segments", **settings))
    one_pass, _ = build_form(toy_config(head_size=384, **settings))
    theirs = one_pass.module.encoder.state_dict()
    shared = {name: value for name, value in pair.module.pretrained_model.state_dict().items() if "word_" not in name}
    assert len(shared) > 50
    for name, value in shared.items():
        assert torch.equal(value, theirs[name]), name
    assert pair.module.pooling == "segments"


def test_a_folder_without_settings_is_no_exported_ranker(tmp_path):
    (tmp_path / "model.int8.onnx").write_bytes(b"\x00")
    with pytest.raises(CheckpointError, match="no exported ranker"):
        unpack_ranker(tmp_path, tmp_path / "out")
    (tmp_path / "ranker.json").write_text('{"model_sha256": "0"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no ONNX model"):
        unpack_ranker(tmp_path, tmp_path / "out")

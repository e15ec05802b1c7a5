"""Encoders of other kinds than BERT: trained, exported, found by their folder, and used as a teacher."""

from __future__ import annotations

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from blender_core.errors import CheckpointError  # noqa: E402
from blender_core.rank.registry import resolve_ranker  # noqa: E402
from blender_lab.ranker.finish import finish_ranker  # noqa: E402
from blender_lab.ranker.one_pass import ENCODERS, SegmentPooledScorer, load_encoder, longest_row  # noqa: E402
from blender_lab.ranker.train import train_ranker  # noqa: E402

KINDS = [kind for kind in ENCODERS if kind != "bert"]


@pytest.fixture
def encoder_of(toy_encoder, tmp_path):
    """Writes the toy encoder's vocabulary under a network of another kind, whose frame is <s> and </s>."""
    from transformers import AutoConfig, AutoModel

    def make(kind):
        folder = tmp_path / kind
        folder.mkdir()
        text = (toy_encoder / "tokenizer.json").read_text(encoding="utf-8")
        text = text.replace("[CLS]", "<s>").replace("[SEP]", "</s>").replace("[PAD]", "<pad>")
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        config = AutoConfig.for_model(
            kind,
            vocab_size=len(json.loads(text)["model"]["vocab"]),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=66,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
        return str(folder)

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_trained_exported_and_a_teacher(kind, encoder_of, toy_config, toy_data, tmp_path):
    config = toy_config(encoder=encoder_of(kind), freeze_layers=1, steps=40)
    train_ranker(config, data=toy_data)
    report = finish_ranker(config, tmp_path / "ranker", data=toy_data)
    assert report["model_alone"]["toy"]["accuracy"] > 0.7
    assert report["int8_agrees"]["all"] > 0.8

    teacher = resolve_ranker(str(tmp_path / "ranker"))
    digest = json.loads((tmp_path / "ranker" / "ranker.json").read_text())["model_sha256"]
    assert teacher.name == f"embedded-{digest[:8]}"
    assert teacher.rank("sun moon star 1", ["sun moon star", "bread salt"]).ranker == teacher.name

    student = toy_config(
        output=str(tmp_path / "student"), steps=2, teacher={"ranker": str(tmp_path / "ranker"), "weight": 1.0}
    )
    assert train_ranker(student, data=toy_data).steps == 2
    assert (tmp_path / "student" / "teacher" / "toy.jsonl").is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_row_can_be_read(kind, encoder_of):
    encoder = load_encoder(encoder_of(kind))
    length = longest_row(encoder)
    # the padding's id, which does not count as a position
    ids = torch.full((1, length + 1), 5)
    assert encoder(input_ids=ids[:, 1:]).last_hidden_state.shape[1] == length
    with pytest.raises((IndexError, RuntimeError)):
        encoder(input_ids=ids)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_segments_without_an_embedding_change_nothing(kind, encoder_of):
    model = SegmentPooledScorer(load_encoder(encoder_of(kind)), head_size=8).eval()
    ids = torch.tensor([[2, 5, 6, 3, 7, 8, 3]])
    kinds = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    padded = [torch.nn.functional.pad(item, (0, 3)) for item in (ids, torch.ones_like(ids), kinds)]
    with torch.no_grad():
        assert torch.allclose(model(ids, torch.ones_like(ids), kinds), model(*padded), atol=1e-6)


def test_an_encoder_without_all_its_weights_is_refused(toy_encoder, tmp_path):
    folder = shutil.copytree(toy_encoder, tmp_path / "half")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if name.endswith("attention.self.query.weight"))
    save_file({name: tensor for name, tensor in weights.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no weights for .*query\.weight"):
        load_encoder(folder)

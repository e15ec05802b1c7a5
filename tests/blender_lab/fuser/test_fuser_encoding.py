"""Training reads what fusing reads, to the token id; batches change nothing."""

from __future__ import annotations

import contextlib
import random

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="the train extra is not installed")

from blender_core import GenFuser  # noqa: E402
from blender_core.errors import CheckpointError, ConfigurationError, FusionError  # noqa: E402
from blender_core.fuse import FusionInput  # noqa: E402
from blender_lab.fuser.base_model import load_base_model  # noqa: E402
from blender_lab.fuser.encoding import EncodedExamples, collate_causal, collate_seq2seq  # noqa: E402
from blender_lab.fuser.examples import (  # noqa: E402
    FusionExample,
    FusionExamples,
    FusionRecord,
)

# deprecations inside peft and accelerate are theirs
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
LONG = " ".join(f"the {word} of the work" for word in ["licence", "copy", "terms"] * 40)
EXAMPLES = [
    FusionExample("Which licence?", ("the Apache licence", "some other one", "none"), "the Apache licence"),
    FusionExample("What <|im_end|> is </s> this?\n\n[x]", ("a <|im_start|>system", "</s> b\nc"), "text\nof two lines"),
    FusionExample(LONG, (LONG, "short", LONG[:300]), LONG),
    FusionExample("é ü 漢字 🙂", ("", "  spaces  "), "naïve"),
]


def ids_when_fusing(fuser, example, monkeypatch):
    """The ids that reach the model."""
    from blender_core.fuse import gen_fuser_decoding

    seen = []

    def record(model, rows, options, **kwargs):
        seen.extend(list(row) for row in rows)
        return [gen_fuser_decoding.WrittenIds([5], "stop") for _ in rows]

    monkeypatch.setattr(gen_fuser_decoding, "generate_batch", record)
    # the stand-in's token may be one that shows nothing
    with contextlib.suppress(FusionError):
        fuser.fuse(FusionInput(example.prompt, example.candidates))
    return seen[0]


@pytest.mark.parametrize("prompt_format", ["published", "paper", "chat"])
def test_training_and_fusing_read_the_same_ids(request, make_config, tmp_path, monkeypatch, prompt_format):
    folder = request.getfixturevalue("llama_folder" if prompt_format == "chat" else "t5_folder")
    config = make_config(folder, prompt_format=prompt_format, max_length=520, candidate_max_length=60)
    base = load_base_model(config)
    base.save(tmp_path / "model", config)
    fuser = GenFuser.from_pretrained(tmp_path / "model", device="cpu")
    for example in EXAMPLES:
        trained = base.encoder.input_ids(example)
        assert trained == ids_when_fusing(fuser, example, monkeypatch)
        assert len(trained) <= 520
    target = base.encoder.target_ids(EXAMPLES[0])
    assert base.encoder.layout.decode(target).strip() == "the Apache licence"
    assert target[-1] == base.encoder.end == base.model.generation_config.eos_token_id


def test_a_cut_target_does_not_end(llama_folder, make_config):
    encoder = load_base_model(make_config(llama_folder, target_max_length=20)).encoder
    assert len(encoder.target_ids(EXAMPLES[2])) == 20
    assert encoder.end not in encoder.target_ids(EXAMPLES[2])
    assert encoder.target_ids(EXAMPLES[0])[-1] == encoder.end


def test_a_target_cannot_end_early(llama_folder, t5_folder, make_config):
    evil = FusionExample("q", ("a",), "one <|im_end|> two </s> three")
    for folder in (llama_folder, t5_folder):
        encoder = load_base_model(make_config(folder)).encoder
        assert encoder.target_ids(evil).count(encoder.end) == 1


def rows_of(encoder, count, seed=0):
    rng = random.Random(seed)
    words = ["licence", "copy", "work", "notice"]
    records = [
        FusionRecord(str(n), "q " * rng.randint(1, 9), ("a b c", "d"), ("", ""), " ".join(rng.choices(words, k=n + 1)))
        for n in range(count)
    ]
    return [EncodedExamples(FusionExamples(records, [(0, 1)] * count), encoder)[n] for n in range(count)]


def summed_loss(model, batch):
    count = int((batch["labels"] != -100).sum())
    with torch.no_grad():
        return float(model(**batch).loss) * count


def test_padding_and_kept_logits_do_not_change_the_loss(llama_folder, make_config):
    base = load_base_model(make_config(llama_folder))
    model = base.model.eval()
    rows = rows_of(base.encoder, 4)
    alone = sum(summed_loss(model, collate_causal([row], pad=base.pad, keep_logits=False)) for row in rows)
    for keep in (True, False):
        batch = collate_causal(rows, pad=base.pad, keep_logits=keep)
        assert summed_loss(model, batch) == pytest.approx(alone, rel=1e-4)
    assert collate_causal(rows, pad=base.pad)["labels"].shape[1] == max(len(row["target_ids"]) for row in rows) + 1


def test_padding_does_not_change_the_loss_of_t5(t5_folder, make_config):
    base = load_base_model(make_config(t5_folder))
    model = base.model.eval()
    rows = rows_of(base.encoder, 4)
    alone = sum(summed_loss(model, collate_seq2seq([row], pad=base.pad)) for row in rows)
    assert summed_loss(model, collate_seq2seq(rows, pad=base.pad)) == pytest.approx(alone, rel=1e-4)


def test_adapters_alone_are_trained(llama_folder, make_config):
    pytest.importorskip("peft", reason="the train extra is not installed")
    adapted = load_base_model(make_config(llama_folder, lora={"rank": 2})).model
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)


def test_models_that_cannot_be_trained(llama_folder, make_config, tmp_path):
    with pytest.raises(ConfigurationError, match="T5"):
        load_base_model(make_config(llama_folder, prompt_format="paper"))
    with pytest.raises(CheckpointError, match="no file"):
        load_base_model(make_config(tmp_path / "none.gguf"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_base_model(make_config(tmp_path))

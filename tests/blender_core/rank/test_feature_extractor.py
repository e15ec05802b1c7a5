"""Reading answers with a frozen model: what the vectors hold, batches, cutting, and what cannot work."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from blender_core.errors import CheckpointError, ConfigurationError, DownloadError, RankerError  # noqa: E402
from blender_core.rank.reward_head import FeatureExtractor, ReaderSettings  # noqa: E402

PROMPT = "name a sea"
ANSWERS = ["sun", "moon star sea hill", "tree bird fish road door bread salt sun moon", ""]


def settings(folder, **changes):
    return ReaderSettings(**{"model": str(folder), "precision": "float32", **changes})


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_vector_is_the_mean_of_the_answers_states_and_the_one_that_saw_all(kind, frozen_folder):
    folder = frozen_folder(kind)
    reader = FeatureExtractor.load(settings(folder), device="cpu")
    found = reader.vectors(PROMPT, ["moon star"])[0]

    from transformers import AutoModel, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    if kind == "decoder":
        start, end = ids("Question:\n") + ids(PROMPT) + ids("\n\nAnswer:\n"), []
    else:
        start, end = [tokenizer.cls_token_id, *ids(PROMPT), tokenizer.sep_token_id], [tokenizer.sep_token_id]
    row = [*start, *ids("moon star"), *end]
    with torch.no_grad():
        states = network(input_ids=torch.tensor([row])).last_hidden_state[0]
    mean = states[len(start) : len(start) + 2].mean(0)
    summary = states[-1] if kind == "decoder" else states[0]
    assert found == pytest.approx(torch.cat([mean, summary]).numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_batches_change_nothing(kind, frozen_folder):
    one, many = (
        FeatureExtractor.load(settings(frozen_folder(kind)), device="cpu", tokens_per_batch=size).vectors(
            PROMPT, ANSWERS
        )
        for size in (1, 1000)
    )
    assert one.shape == (4, 64)
    assert one == pytest.approx(many, abs=1e-5)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_answers_read_together_are_those_read_one_by_one(kind, frozen_folder):
    reader = FeatureExtractor.load(settings(frozen_folder(kind)), device="cpu")
    alone = np.concatenate([reader.vectors(PROMPT, [answer]) for answer in ANSWERS])
    assert reader.vectors(PROMPT, ANSWERS) == pytest.approx(alone, abs=1e-5)


def test_a_decoder_reads_the_prompt_once_for_all_answers(frozen_folder):
    reader = FeatureExtractor.load(settings(frozen_folder("decoder")), device="cpu", tokens_per_batch=1)
    read = []
    reader._network.embed_tokens.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0].numel()))
    reader.vectors(PROMPT, ["sun", "moon star", "sea"])
    start = len(reader._ids("Question:\n") + reader._ids(PROMPT) + reader._ids("\n\nAnswer:\n"))
    assert sorted(read) == [1, 1, 2, start]


@pytest.mark.parametrize("instructions", [False, True])
def test_a_cpu_without_bfloat16_reads_in_float32(instructions, frozen_folder, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": instructions}, raising=False)
    exact, wanted = (
        FeatureExtractor.load(settings(frozen_folder("decoder"), precision=precision), device="cpu")
        for precision in ("float32", "bfloat16")
    )
    same = np.array_equal(exact.vectors(PROMPT, ANSWERS), wanted.vectors(PROMPT, ANSWERS))
    assert same is not instructions
    assert wanted.settings.precision == "bfloat16"


def test_fewer_layers_give_another_vector_and_too_many_are_an_error(frozen_folder):
    folder = frozen_folder("decoder")
    whole, half = (
        FeatureExtractor.load(settings(folder, layers=n), device="cpu").vectors(PROMPT, ["sun"]) for n in (0, 1)
    )
    assert not np.allclose(whole, half)
    with pytest.raises(ConfigurationError, match="has 2 layers"):
        FeatureExtractor.load(settings(folder, layers=3), device="cpu")


def test_the_middle_of_a_long_text_is_left_out(frozen_folder):
    reader = FeatureExtractor.load(settings(frozen_folder("decoder"), answer_tokens=8), device="cpu")
    kept = "sun moon star sea tree bird fish road"
    long = kept.replace("sea tree", "sea hill door bread salt tree")
    assert reader.vectors(PROMPT, [long]) == pytest.approx(reader.vectors(PROMPT, [kept]), abs=1e-5)


def test_special_tokens_in_a_text_are_text(frozen_folder):
    reader = FeatureExtractor.load(settings(frozen_folder("encoder")), device="cpu")
    plain, marked = reader.vectors(PROMPT, ["sun moon", "sun [SEP] moon"])
    assert not np.allclose(plain, marked)
    assert len(reader._ids("[SEP]")) > 1


def test_states_that_are_not_finite(frozen_folder):
    reader = FeatureExtractor.load(settings(frozen_folder("decoder")), device="cpu")
    reader._network.embed_tokens.weight.data.fill_(float("nan"))
    with pytest.raises(RankerError, match="float32"):
        reader.vectors(PROMPT, ["sun"])


def test_what_cannot_be_loaded(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no such thing"}))
    with pytest.raises(CheckpointError, match="as a model that reads answers"):
        FeatureExtractor.load(settings(tmp_path), device="cpu")
    with pytest.raises(CheckpointError, match=r"there is no file .*missing\.gguf"):
        FeatureExtractor.load(settings(tmp_path / "missing.gguf"), device="cpu")
    with pytest.raises((DownloadError, CheckpointError), match="nobody/nothing"):
        FeatureExtractor.load(settings("nobody/nothing"), device="cpu")


@pytest.mark.parametrize("change", [{"layers": -1}, {"answer_tokens": 7}, {"prompt_tokens": 0}, {"precision": "int4"}])
def test_settings_that_cannot_work(change):
    with pytest.raises(ConfigurationError, match=str(next(iter(change.values())))):
        settings("x", **change)

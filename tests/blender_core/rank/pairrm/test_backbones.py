"""PairRankers on other encoders, against transformers' own outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from blender_core import PairRanker  # noqa: E402
from blender_core.errors import CheckpointError, ConfigurationError  # noqa: E402
from blender_core.rank.pairrm.tokens import MARKERS, PairTokenizer  # noqa: E402

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
}
WORDS = ["the", "work", "a", "licence", "any", "terms", "of", "it", "Which", "?"]
NAMES = {"roberta": ("<s>", "<pad>", "</s>", "<unk>"), "other": ("[CLS]", "[PAD]", "[SEP]", "[UNK]")}
CANDIDATES = ["the work", "a licence of it", "any terms", "the terms of the work"]


def configs():
    pad = {"pad_token_id": 1, "vocab_size": 18}
    modern = {**SIZES, **pad, "global_attn_every_n_layers": 2, "local_attention": 8}
    modern |= {"cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
    deberta = {
        **SIZES,
        **pad,
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
    }
    return {
        "bert": {**SIZES, **pad},
        "roberta": {**SIZES, **pad},
        "modernbert": modern,
        "bert segments": {**SIZES, **pad, "pooling": "segments"},
        "roberta segments": {**SIZES, **pad, "pooling": "segments"},
        "modernbert segments": {**modern, "pooling": "segments"},
        "deberta-v2": deberta,
        "deberta-v2 conv": {**deberta, "conv_kernel_size": 3, "conv_act": "gelu"},
        "deberta-v2 conv tanh": {**deberta, "conv_kernel_size": 5, "conv_act": "tanh", "conv_groups": 4},
        "deberta-v2 one layer": {**deberta, "conv_kernel_size": 3, "conv_act": "gelu", "num_hidden_layers": 1},
    }


def write_tokenizer(path, special):
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[3]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    tokenizer.add_tokens(list(MARKERS))
    tokenizer.save(str(path))


@pytest.fixture(params=sorted(configs()))
def checkpoint(request, tmp_path):
    """A folder in our layout, made from a random transformers model and a random head."""
    kind = request.param.split()[0]
    config = transformers.AutoConfig.for_model(kind, **configs()[request.param])
    torch.manual_seed(3)
    model = transformers.AutoModel.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    head = torch.nn.Sequential(
        torch.nn.Dropout(), torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(32, 1)
    ).eval()
    state = {f"pretrained_model.{name}": value for name, value in model.state_dict().items()}
    state |= {f"head_layer.{name}": value for name, value in head.state_dict().items()}
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path / "tokenizer.json", NAMES["roberta" if kind == "roberta" else "other"])
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "format": "blended-llm/pair-ranker",
                "format_version": 1,
                "source_max_length": 30,
                "candidate_max_length": 30,
                "aggregation": "max_logits",
                "both_orders": True,
                "temperature": 1.0,
                "encoder": {"model_type": kind, **configs()[request.param]},
            }
        )
    )
    return tmp_path, model, head


def expected(folder, model, head, prompt, left, right):
    """The logit from transformers' own hidden states."""
    tokenizer = PairTokenizer.from_file(folder / "tokenizer.json")
    pair = tokenizer.pair(tokenizer.source(prompt, 30), tokenizer.candidate(left, 30), tokenizer.candidate(right, 30))
    ids = torch.tensor([pair.ids])
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        if getattr(model.config, "pooling", "markers") == "segments":
            ends = [*pair.positions[1:], len(pair.ids)]
            source, first, second = (hidden[start:end].mean(0) for start, end in zip(pair.positions, ends, strict=True))
        else:
            source, first, second = (hidden[position] for position in pair.positions)
        return float(head(torch.cat([source, first])) - head(torch.cat([source, second])))


@pytest.mark.parametrize(
    "size", [{"num_hidden_layers": 10**9}, {"vocab_size": 10**13}, {"hidden_size": 10**14}], ids=str
)
@pytest.mark.parametrize("checkpoint", ["bert", "modernbert"], indirect=True)
def test_sizes_that_the_weights_do_not_have_cost_nothing(size, checkpoint):
    folder = checkpoint[0]
    config = json.loads((folder / "config.json").read_text())
    config["encoder"] |= size
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        PairRanker.from_pretrained(folder, device="cpu")


def test_logits_are_those_of_transformers(checkpoint):
    folder, model, head = checkpoint
    ordered = PairRanker.from_pretrained(folder, device="cpu", token_budget=500).ordered_logits("Which ?", CANDIDATES)
    for i, left in enumerate(CANDIDATES):
        for j, right in enumerate(CANDIDATES):
            if i != j:
                assert ordered[i][j] == pytest.approx(expected(folder, model, head, "Which ?", left, right), abs=1e-4)
    assert np.ptp(ordered) > 0.01


def test_round_trip(checkpoint, tmp_path):
    folder, *_ = checkpoint
    ranker = PairRanker.from_pretrained(folder, device="cpu")
    ranker.save_pretrained(tmp_path / "again")
    again = PairRanker.from_pretrained(tmp_path / "again", device="cpu")
    assert again.ordered_logits("Which ?", CANDIDATES) == ranker.ordered_logits("Which ?", CANDIDATES)


def test_onnxruntime_gives_what_torch_gives(checkpoint, tmp_path):
    pytest.importorskip("onnx")
    folder, *_ = checkpoint
    ranker = PairRanker.from_pretrained(folder, device="cpu")
    ranker.export_onnx(tmp_path / "onnx")
    for token_budget in (1, 60, 9999):
        exported = PairRanker.from_pretrained(
            tmp_path / "onnx", device="cpu", backend="onnx", threads=1, token_budget=token_budget
        )
        for prompt in ("Which ?", "the terms of a licence ? " * 5):
            expected = np.array(ranker.ordered_logits(prompt, CANDIDATES))
            assert np.array(exported.ordered_logits(prompt, CANDIDATES)) == pytest.approx(expected, abs=1e-4)


def test_a_batch_gives_what_single_pairs_give(checkpoint):
    folder, *_ = checkpoint
    single = PairRanker.from_pretrained(folder, device="cpu", token_budget=1).rank("Which ?", CANDIDATES)
    batched = PairRanker.from_pretrained(folder, device="cpu", token_budget=9999).rank("Which ?", CANDIDATES)
    assert single.scores == pytest.approx(batched.scores, abs=1e-5)


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_the_random_numbers_of_the_caller_stay(checkpoint):
    folder, *_ = checkpoint
    torch.manual_seed(1)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    PairRanker.from_pretrained(folder, device="cpu")
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize("checkpoint", ["roberta"], indirect=True)
def test_a_window_that_is_too_small(checkpoint):
    """RoBERTa has a row for each position, and two that no token uses."""
    folder, *_ = checkpoint
    assert PairRanker.from_pretrained(folder, device="cpu", source_max_length=34).name
    with pytest.raises(ConfigurationError, match=r"95 tokens.*94"):
        PairRanker.from_pretrained(folder, device="cpu", source_max_length=35)


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_the_hf_layout_is_for_deberta(checkpoint, tmp_path):
    folder, *_ = checkpoint
    with pytest.raises(ConfigurationError, match="not bert"):
        PairRanker.from_pretrained(folder, device="cpu").save_pretrained(tmp_path / "hf", layout="pairrm-hf")


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"model_type": "bert", "vocab_size": 18}, "hidden_size, max_position_embeddings"),
        ({"model_type": "bert", "pooling": "max"}, "known are markers, segments"),
    ],
)
def test_other_encoders_are_refused(checkpoint, change, match):
    folder, *_ = checkpoint
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "encoder": change}))
    with pytest.raises(CheckpointError, match=match):
        PairRanker.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_a_missing_tensor_is_named(checkpoint):
    from safetensors.torch import load_file, save_file

    folder, *_ = checkpoint
    tensors = load_file(folder / "model.safetensors")
    del tensors["pretrained_model.encoder.layer.1.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"on bert.*missing .*layer\.1\.output\.dense\.bias"):
        PairRanker.from_pretrained(folder, device="cpu")

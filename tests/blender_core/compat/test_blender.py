"""Loading, best of n, and fusing with the old package's face."""

from __future__ import annotations

import json
import random

import pytest
from tiny_models import GOLDENS, save_t5

import blender_core.compat as llm_blender
from blender_core.errors import CheckpointError, ConfigurationError, FusionError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def test_bubble_under_a_permutation(blender, given, says):
    arguments = (given["inputs"][:1], given["candidates"][:1], given["instructions"][:1])
    for golden in says["bubble"]:
        method = getattr(blender, golden["method"])
        picked = method(*arguments, return_all=golden["return_all"], permutation=golden["permutation"])
        assert picked == golden["picked"]


def test_full(blender, given, says):
    arguments = (given["inputs"], given["candidates"], given["instructions"], "full")
    assert blender.get_best_of_n(*arguments) == says["full"]["best"]
    assert blender.get_best_of_n(*arguments, return_all=True) == says["full"]["all"]["values"]
    assert blender.get_worst_of_n(*arguments) == says["full"]["worst"]


def test_permutations_come_from_the_rng(pairrm_folder, given):
    def picked(seed):
        blender = llm_blender.Blender(rng=random.Random(seed))
        blender.loadranker(pairrm_folder, device="cpu")
        return blender.get_best_of_n(given["inputs"], given["candidates"], return_all=True)

    assert picked(1) == picked(1)
    assert picked(1) != picked(2)


def test_wrong_arguments(blender):
    with pytest.raises(ConfigurationError, match="'bubble' or 'full'"):
        blender.get_best_of_n(["Hi"], [["a", "b"]], pairrm_cmp_type="half")
    with pytest.raises(ConfigurationError, match="does not fit 2"):
        blender.get_best_of_n(["Hi"], [["a", "b"]], permutation=[0, 1, 2])
    with pytest.raises(ConfigurationError, match="sampling_mode 'greedy'"):
        blender.n_generate(None, None, ["Hi"], sampling_mode="greedy")
    with pytest.raises(ConfigurationError, match="n is 0"):
        blender.n_generate(None, None, ["Hi"], n=0)


def test_configs_load(pairrm_folder):
    config = llm_blender.RankerConfig(load_checkpoint=str(pairrm_folder), device="cpu", source_maxlength=64)
    blender = llm_blender.Blender(ranker_config=config)
    assert "source_max_length=64" in repr(blender.ranker)
    with pytest.raises(ConfigurationError, match="load_checkpoint"):
        llm_blender.Blender(ranker_config=llm_blender.RankerConfig())
    with pytest.raises(ConfigurationError, match="RankerConfig has no speed"):
        blender.loadranker(pairrm_folder, speed=2)


def test_a_device_object_will_do(pairrm_folder):
    """As TRL's judge passes one."""
    blender = llm_blender.Blender(llm_blender.BlenderConfig(use_tqdm=False))
    blender.loadranker(str(pairrm_folder), device=torch.device("cpu"))
    assert blender.rank(["Hi"], [["a", "the work"]], disable_tqdm=True).shape == (1, 2)


@pytest.fixture(scope="module")
def causal():
    """A causal model with random weights, and a word tokenizer that pads on the left."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<unk>", "the", "work", "any", "terms", "of", "licence", "Hi", "Bye", "Say", "it"]
    raw = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", padding_side="left", model_max_length=64
    )
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return transformers.LlamaForCausalLM(config).eval(), tokenizer


@pytest.mark.parametrize("mode", ["top_p_sampling", "top_k_sampling"])
def test_best_of_n_generate(mode, blender, causal):
    arguments = {"n": 3, "sampling_mode": mode, "batch_size": 2, "max_new_tokens": 6}
    torch.manual_seed(5)
    sampled = blender.n_generate(*causal, ["Hi", "Say it", "Bye"], ["the terms"] * 3, **arguments)
    assert [len(texts) for texts in sampled] == [3, 3, 3]
    assert all("the terms" not in text or len(text.split()) <= 6 for texts in sampled for text in texts)
    torch.manual_seed(5)
    best = blender.best_of_n_generate(
        *causal, ["Hi", "Say it", "Bye"], ["the terms"] * 3, pairrm_cmp_type="full", **arguments
    )
    assert best == blender.get_best_of_n(["Hi", "Say it", "Bye"], sampled, ["the terms"] * 3, "full")


@pytest.fixture(scope="module")
def fuser_folder(tmp_path_factory):
    """A T5 with random weights."""
    folder = tmp_path_factory.mktemp("fuser")
    save_t5(folder, width=16, heads=2, layers=1, d_kv=8, vocab_size=600, dropout_rate=0.1)
    return folder


def test_fuse_feeds_what_the_reference_feeds(fuser_folder, monkeypatch):
    blender = llm_blender.Blender()
    blender.loadfuser(fuser_folder, device="cpu", torch_dtype="float32")
    fed = []

    def record(model, input_ids, attention_mask, **options):
        fed.append((input_ids[0].tolist(), options))
        return torch.tensor([[0, 50, 86]])

    monkeypatch.setattr(transformers.T5ForConditionalGeneration, "generate", record)
    golden = json.loads((GOLDENS / "gen_fuser.json").read_text())["short"]
    candidates = list(golden["candidates"])
    texts = blender.fuse([golden["prompt"]], [candidates], num_beams=2)
    assert len(texts) == 1
    ids, options = fed[0]
    assert ids == golden["ids"]
    assert (options["num_beams"], options["max_new_tokens"]) == (2, 128)
    assert candidates == golden["candidates"]
    blender.fuse([golden["prompt"]], [candidates], ["Be brief."])
    assert len(fed[1][0]) > len(fed[0][0])


def test_fuse_runs_in_batches(fuser_folder, monkeypatch):
    blender = llm_blender.Blender()
    blender.loadfuser(fuser_folder, device="cpu", torch_dtype="float32")
    inputs, candidates = (
        ["Hi", "Which of them?", "Bye"],
        [["the work", "any"], ["it", "a licence"], ["the terms", "of it"]],
    )
    instructions = ["Be brief. ", "", "Say it. "]
    # random weights like to write control tokens only
    options = {"num_beams": 1, "max_new_tokens": 6, "suppress_tokens": [0, 1, 2, *range(400, 600)]}
    single = blender.fuse(inputs, candidates, instructions, 1, **options)
    sizes = []
    generate = transformers.T5ForConditionalGeneration.generate

    def counted(model, input_ids, **rest):
        sizes.append(len(input_ids))
        return generate(model, input_ids=input_ids, **rest)

    monkeypatch.setattr(transformers.T5ForConditionalGeneration, "generate", counted)
    assert blender.fuse(inputs, candidates, instructions, 2, **options) == single
    assert sizes == [2, 1]
    with pytest.raises(ConfigurationError, match="batch_size"):
        blender.fuse(inputs, candidates, batch_size=0)


def test_a_fuser_in_eight_bits(fuser_folder):
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    blender = llm_blender.Blender()
    blender.loadfuser(fuser_folder, device="cpu", torch_dtype="float32", load_in_8bit=True)
    options = {"num_beams": 1, "max_new_tokens": 4, "suppress_tokens": [0, 1, 2, *range(400, 600)]}
    assert blender.fuse(["Hi"], [["the work"]], **options)[0]
    with pytest.raises(ConfigurationError, match="both set"):
        blender.loadfuser(fuser_folder, device="cpu", load_in_8bit=True, load_in_4bit=True)


def test_the_fuser_writes_nothing(fuser_folder):
    blender = llm_blender.Blender()
    blender.loadfuser(fuser_folder, device="cpu", torch_dtype="float32")
    with pytest.raises(FusionError, match="wrote nothing for input 0"):
        blender.fuse(["Hi"], [["the work"]], max_new_tokens=2, suppress_tokens=list(range(2, 600)))


@pytest.mark.parametrize("name", ["openbmb/UltraRM-13b", "/models/berkeley-nest/Starling-RM-7B-alpha"])
def test_reward_models_are_sent_elsewhere(name):
    with pytest.raises(ConfigurationError, match="CrossEncoderRanker"):
        llm_blender.Blender().loadranker(name, device="cpu")


def test_a_model_of_vllm():
    model = type("LLM", (), {"__module__": "vllm.entrypoints.llm"})()
    with pytest.raises(ConfigurationError, match="get_best_of_n"):
        llm_blender.Blender().n_generate(model, None, ["Hi"])


def test_rank_and_fuse(blender, fuser_folder, pairrm_folder, given, monkeypatch):
    both = llm_blender.Blender()
    both.loadranker(pairrm_folder, device="cpu")
    both.loadfuser(fuser_folder, device="cpu", torch_dtype="float32", candidate_maxlength=8)
    monkeypatch.setattr(both.fuser, "fuse_batches", lambda inputs, kept, *_, **__: ["|".join(texts) for texts in kept])
    for return_scores in (False, True):
        fused, numbers = both.rank_and_fuse(given["inputs"], given["candidates"], return_scores=return_scores, top_k=2)
        best = blender.get_best_of_n(given["inputs"], given["candidates"], None, "full", True)
        assert fused == ["|".join(texts[:2]) for texts in best]
        assert numbers.shape == (4, 4)


def test_a_fuser_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be loaded as a fuser"):
        llm_blender.Blender().loadfuser(tmp_path, device="cpu")

"""Made-up records, a tiny T5 and a tiny Llama."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[2] / "goldens"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ["licence", "copy", "work", "notice", "source", "form", "grant", "claim", "patent", "terms"]


def record(number, rng):
    """The reference is the word that two of three candidates agree on."""
    right, wrong = rng.sample(WORDS, 2)
    return {
        "id": f"toy-{number}",
        "instruction": f"Which word, {number}?",
        "input": "",
        "output": f"the {right}",
        "candidates": [
            {"decoding_method": "", "model": name, "text": text, "scores": {}}
            for name, text in (("a", f"the {right}"), ("b", f"the  {right} "), ("c", f"a {wrong}"), ("d", " "))
        ],
        "cmp_results": "null",
    }


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder with 40 records in MixInstruct's schema and 4 of the other."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("fuser_data")
    records = [record(number, rng) for number in range(40)]
    (folder / "mix.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    with gzip.open(folder / "referenced.jsonl.gz", "wt") as file:
        for one in records[:4]:
            line = {key: one[key] for key in ("id", "instruction", "candidates")}
            file.write(json.dumps({**line, "source": "toy", "comparisons": [], "reference": one["output"]}) + "\n")
    return folder


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("t5")
    sizes = {"d_model": 32, "d_kv": 16, "num_heads": 2, "d_ff": 64, "num_layers": 1, "num_decoder_layers": 1}
    config = transformers.T5Config(
        vocab_size=512, **sizes, dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    shutil.copy(GOLDENS / "t5_tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    base.train_from_iterator([(GOLDENS.parents[1] / "LICENSE").read_text()], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=base, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def make_config(tmp_path):
    """Settings of a run of a few seconds."""
    from blender_lab import FuserTrainingConfig

    def make(model, **changes):
        settings = {
            "model": str(model),
            "output": str(tmp_path / "run"),
            "files": ["mix.jsonl"],
            "ranker": "consensus",
            "top_k": 2,
            "max_length": 400,
            "epochs": 2,
            "learning_rate": 3e-3,
            "batch_size": 2,
            "accumulate": 2,
            "bfloat16": False,
            "development_share": 0.15,
            "development_records": 2,
            "test_share": 0.1,
            "evaluate_every": 4,
            "save_every": 4,
            "log_every": 1,
            "device": "cpu",
            "threads": 1,
            "seed": 0,
        }
        return FuserTrainingConfig.from_dict({**settings, **changes})

    return make

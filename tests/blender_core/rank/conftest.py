"""Random-weight PairRanker checkpoints, the ones on which the goldens were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[2] / "goldens"


@pytest.fixture(scope="session")
def goldens():
    """What llm-blender 0.0.2 said, by request."""
    return json.loads((GOLDENS / "pairranker.json").read_text())


@pytest.fixture(scope="session")
def pairrm_hf_folder(checkpoints, tmp_path_factory):
    """The same weights in the layout of llm-blender/PairRM-hf."""
    folder = tmp_path_factory.mktemp("pairrm-hf") / "PairRM-hf"
    return checkpoints.write_checkpoint(folder, checkpoints.transformers_config(checkpoints.TINY))


@pytest.fixture(scope="session")
def ranker(pairrm_folder):
    """A loaded ranker."""
    pytest.importorskip("torch")
    import torch

    from blender_core import PairRanker

    torch.set_num_threads(1)
    return PairRanker.from_pretrained(pairrm_folder, device="cpu")


@pytest.fixture(scope="session")
def frozen_folder(tmp_path_factory):
    """Folders of a random two-layer decoder and encoder of width 32 with a tokenizer of words and characters."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import functools

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    words = [
        "sun",
        "moon",
        "star",
        "sea",
        "hill",
        "tree",
        "bird",
        "fish",
        "road",
        "door",
        "bread",
        "salt",
        "name",
        "a",
        "Question",
        "Answer",
    ]
    characters = [chr(code) for code in range(33, 127)]

    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp(kind)
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if kind == "encoder" else ["[UNK]"]
        tokens = dict.fromkeys([*special, *words, *characters])
        tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, "[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.decoder = decoders.WordPiece()
        roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"} if kind == "encoder" else {}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **roles).save_pretrained(folder)
        shape = {
            "vocab_size": len(tokens),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "initializer_range": 0.5,
        }
        torch.manual_seed(0)
        network = BertModel(BertConfig(**shape)) if kind == "encoder" else LlamaModel(LlamaConfig(**shape))
        network.save_pretrained(folder)
        return folder

    return make

"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

# tests compare logits bit by bit; without this, MKL's last bits depend on where a tensor lies in memory (seen on AMD)
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

import pytest

from blender_core.local import LocalEnsemble, local_ensemble

# these run in an environment of their own, with the old package
collect_ignore_glob = ["goldens/make_*.py"]


@pytest.fixture(scope="session")
def local_servers() -> Iterator[LocalEnsemble]:
    """The default local models, served once for the whole run; tests that use it are marked local_models."""
    pytest.importorskip("xllamacpp", reason="the demo extra is not installed")
    with local_ensemble() as servers:
        yield servers


WORDS = ["sun", "moon", "star", "sea", "hill", "tree", "bird", "fish", "road", "door", "bread", "salt"]


@pytest.fixture(scope="session")
def words():
    """What the tiny models can read."""
    return WORDS


@pytest.fixture(scope="session")
def word_tokenizer():
    """Writes a tokenizer of a dozen words into a folder, and returns it."""

    def write(folder, roberta=False):
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        names = (
            ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if roberta else ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
        )
        cls, _, sep, unknown, _ = names
        tokens = {token: index for index, token in enumerate([*names, *WORDS])}
        tokenizer = Tokenizer(models.WordLevel(tokens, unk_token=unknown))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(names)
        middle, second = (f"{sep} {sep}", 0) if roberta else (sep, 1)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}",
            pair=f"{cls} $A {middle} $B:{second} {sep}:{second}",
            special_tokens=[(cls, 0), (sep, 2)],
        )
        # published files carry both; neither may have an effect
        tokenizer.enable_truncation(5)
        tokenizer.enable_padding(length=30)
        tokenizer.save(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    return write


@pytest.fixture(scope="session")
def save():
    """Writes a BERT or RoBERTa for that tokenizer into a folder, and returns it."""

    def write(folder, family, roberta=False, **options):
        import torch
        import transformers

        torch.set_num_threads(1)
        torch.manual_seed(3)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config_class = transformers.RobertaConfig if roberta else transformers.BertConfig
        config = config_class(
            vocab_size=5 + len(WORDS),
            **sizes,
            max_position_embeddings=34 if roberta else 32,
            type_vocab_size=1 if roberta else 2,
            pad_token_id=1,
            initializer_range=0.5,
            **options,
        )
        model = getattr(transformers, family).from_config(config).eval()
        model.save_pretrained(folder)
        return model

    return write

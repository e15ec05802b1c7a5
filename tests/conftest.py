"""Fixtures that several packages' tests share."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

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


GOLDENS = Path(__file__).parent / "goldens"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def save_t5():
    """Writes a T5 with random weights and the goldens' tokenizer into a folder, and returns it."""

    def write(folder, **changes):
        import torch
        import transformers

        torch.set_num_threads(1)
        torch.manual_seed(0)
        sizes = {"d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 128, "num_layers": 2, "num_decoder_layers": 2}
        tokens = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
        config = transformers.T5Config(vocab_size=512, dropout_rate=0.0, **tokens, **{**sizes, **changes})
        model = transformers.T5ForConditionalGeneration(config)
        model.save_pretrained(folder)
        shutil.copy(GOLDENS / "t5_tokenizer.json", folder / "tokenizer.json")
        return model

    return write


@pytest.fixture(scope="session")
def llama_config():
    """Makes the config of a Llama of two small layers."""

    def make(vocab_size, **changes):
        import transformers

        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
        tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 1024}
        return transformers.LlamaConfig(vocab_size=vocab_size, **{**sizes, **tokens, **changes})

    return make


@pytest.fixture(scope="session")
def chat_tokenizer():
    """Makes a tokenizer of bytes with a chat template, trained on some texts."""

    def make(texts, vocab_size=600, chat_template=CHAT_TEMPLATE):
        import transformers
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        base = Tokenizer(models.BPE())
        base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        base.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        base.train_from_iterator(texts, trainer)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=base, pad_token="<|pad|>", eos_token="<|im_end|>"
        )
        tokenizer.chat_template = chat_template
        return tokenizer

    return make


@pytest.fixture(scope="session")
def save_llama(llama_config, chat_tokenizer):
    """Writes a Llama with random weights and a tokenizer into a folder, and returns the tokenizer."""

    def write(folder, chat_template=CHAT_TEMPLATE, **changes):
        import torch
        import transformers

        torch.set_num_threads(1)
        torch.manual_seed(0)
        tokenizer = chat_tokenizer([(GOLDENS.parents[1] / "LICENSE").read_text()], chat_template=chat_template)
        tokenizer.save_pretrained(folder)
        transformers.LlamaForCausalLM(llama_config(len(tokenizer), **changes)).save_pretrained(folder)
        return tokenizer

    return write


@pytest.fixture(scope="session")
def checkpoints():
    """The module that builds PairRanker checkpoints with random weights, as the goldens were made on them."""
    spec = importlib.util.spec_from_file_location("pairrm_checkpoint", GOLDENS / "pairrm_checkpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pairrm_folder(checkpoints, tmp_path_factory):
    """A tiny checkpoint in the layout of llm-blender/PairRM."""
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("pairrm") / "PairRM", checkpoints.ranker_config())

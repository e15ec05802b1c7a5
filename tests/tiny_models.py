"""Tiny checkpoints with random weights, in the layouts of published ones; each function writes one into a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

GOLDENS = Path(__file__).parent / "goldens"
LICENCE = GOLDENS.parents[1] / "LICENSE"
WORDS = ["sun", "moon", "star", "sea", "hill", "tree", "bird", "fish", "road", "door", "bread", "salt"]
PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_tokenizer(texts, vocabulary, chat_template=CHAT_TEMPLATE):
    """A BPE tokenizer with control tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    base.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, pad_token=PAD, eos_token=END)
    tokenizer.chat_template = chat_template
    return tokenizer


def llama(tokenizer, *, width=64, layers=2, heads=4, **options):
    """A Llama for a tokenizer of ``chat_tokenizer``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        **{
            "max_position_embeddings": 1024,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            **options,
        },
    )
    return LlamaForCausalLM(config)


def save_llama(folder, chat_template=CHAT_TEMPLATE, **options):
    """Write a Llama whose tokenizer knows the licence; returns the tokenizer."""
    tokenizer = chat_tokenizer([LICENCE.read_text()], 600, chat_template)
    tokenizer.save_pretrained(folder)
    llama(tokenizer, **options).save_pretrained(folder)
    return tokenizer


def save_t5(folder, *, width=64, heads=4, layers=2, **options):
    """Write a T5 with the tokenizer of the goldens; returns the model."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = T5Config(
        d_model=width,
        num_heads=heads,
        d_ff=2 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        **{
            "vocab_size": 512,
            "d_kv": 16,
            "dropout_rate": 0.0,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 1,
            **options,
        },
    )
    model = T5ForConditionalGeneration(config)
    model.save_pretrained(folder)
    shutil.copy(GOLDENS / "t5_tokenizer.json", folder / "tokenizer.json")
    return model


def save_bert(folder, family, roberta=False, *, words=WORDS, **options):
    """Write a BERT or RoBERTa for five control tokens and some words; returns the model."""
    import torch
    import transformers

    torch.set_num_threads(1)
    torch.manual_seed(3)
    config_class = transformers.RobertaConfig if roberta else transformers.BertConfig
    config = config_class(
        **{
            "vocab_size": 5 + len(words),
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 34 if roberta else 32,
            "type_vocab_size": 1 if roberta else 2,
            "pad_token_id": 1,
            "initializer_range": 0.5,
            **options,
        },
    )
    model = getattr(transformers, family).from_config(config).eval()
    model.save_pretrained(folder)
    return model


def word_level(names, words=WORDS, *, pair, unknown):
    """A tokenizer of words; of ``names``, the control tokens, the first stands before a text and the third behind."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokens = {token: index for index, token in enumerate([*names, *words])}
    tokenizer = Tokenizer(models.WordLevel(tokens, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names[0]} $A {names[2]}", pair=pair, special_tokens=[(names[0], 0), (names[2], 2)]
    )
    return tokenizer


def save_word_tokenizer(folder, roberta=False):
    """Write the tokenizer for ``save_bert``, and return it."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if roberta else ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    cls, _, sep, unknown, _ = names
    middle, second = (f"{sep} {sep}", 0) if roberta else (sep, 1)
    tokenizer = word_level(names, pair=f"{cls} $A {middle} $B:{second} {sep}:{second}", unknown=unknown)
    tokenizer.add_special_tokens(names)
    # published files carry both; neither may have an effect
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=30)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def save_frozen(folder, kind):
    """Write a two-layer decoder or encoder of width 32 with a tokenizer of words and characters."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if kind == "encoder" else ["[UNK]"]
    characters = [chr(code) for code in range(33, 127)]
    tokens = dict.fromkeys([*special, *WORDS, "name", "a", "Question", "Answer", *characters])
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


_TRIMMED = "{{ message.content | trim }}"
REWARD_TEMPLATES = {
    "chatml": CHAT_TEMPLATE,
    # as Llama 3 and Gemma: a begin token, texts are stripped, and roles must alternate
    "trimmed": "{{ bos_token }}{% for message in messages %}"
    "{% if (message.role == 'user') == (loop.index0 % 2 == 1) %}{{ raise_exception('no alternation') }}{% endif %}"
    "<|im_start|>{{ 'model' if message.role == 'assistant' else 'user' }}\n" + _TRIMMED + "<|im_end|>\n{% endfor %}",
    # as Qwen3: thoughts before the last answer, in tokens that are not marked as special
    "thinking": "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{{ message.content.lstrip('\n') }}"
    "{% else %}{{ message.content }}{% endif %}<|im_end|>\n{% endfor %}",
    # it looks at the texts
    "looking": "{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content|length }}"
    "{% if message.content.startswith('None') %} <think></think>{% endif %}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}",
    # nothing behind the answer
    "open": "{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content }}{% endfor %}",
}
REWARD_FAMILIES = ("Qwen3", "Llama", "Gemma2", "Mistral", "ModernBert")


def save_reward_model(folder, family, template="chatml", *, pad="config", labels=1, suffix="ForSequenceClassification"):
    """Write a random reward model of a family; ``pad`` says who knows its pad token, or that it is the end token."""
    import torch
    import transformers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = chat_tokenizer([LICENCE.read_text()], 400, REWARD_TEMPLATES.get(template, template))
    if template in ("thinking", "looking"):
        tokenizer.add_tokens(["<think>", "</think>"])
    if template == "trimmed":
        from tokenizers import processors

        tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
        begin = ("<|begin|>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[begin]
        )
    if pad == "end":
        tokenizer.pad_token = tokenizer.eos_token
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    if family != "ModernBert":
        sizes |= {"num_key_value_heads": 2, "head_dim": 8}
    if family == "Qwen3Next":
        sizes |= {"layer_types": ["linear_attention", "full_attention"], "num_experts": 2, "num_experts_per_tok": 1}
        sizes |= {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
        sizes |= {"linear_num_value_heads": 4, "linear_num_key_heads": 2}
        sizes |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    if family in ("Gemma2", "Mistral"):
        sizes |= {"sliding_window": 24}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        num_labels=labels,
        pad_token_id=None if pad == "tokenizer" and family != "ModernBert" else tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **sizes,
    )
    model = getattr(transformers, family + suffix)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    if pad == "none":
        model.config.pad_token_id = -1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

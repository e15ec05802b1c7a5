"""What a fuser starts from: weights and tokenizer, from a folder, the hub, or a GGUF file."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_core.errors import BlendError, CheckpointError, ConfigurationError
from blender_core.fuse.gen_fuser import GenFuserSettings
from blender_core.fuse.gen_fuser_prompt import ChatLayout, FusionLayout, PaperLayout, PublishedLayout
from blender_core.models.gguf import gguf_file
from blender_core.models.loading import LoadOptions, load_model, load_tokenizer
from blender_core.models.tokenizers import SealedTokenizer
from blender_lab.fuser.config import FuserTrainingConfig, LoraConfig
from blender_lab.fuser.encoding import ExampleEncoder

__all__ = ["BaseModel", "load_base_model"]

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model to train, with all that belongs to it.

    Attributes:
        model: The transformers model, float32; a peft model where adapters are trained.
        encoder: Encodes examples for it.
        prompt_format: The layout in use: ``"published"``, ``"paper"`` or ``"chat"``.
        pad: Id to pad with.
        tokenizer: transformers' tokenizer of a decoder-only model, ``None`` for T5.
        tokenizer_files: Files that make up the tokenizer of a T5 model; they are copied, since transformers 5
            would write another one.
    """

    model: Any
    encoder: ExampleEncoder
    prompt_format: str
    pad: int
    tokenizer: Any = None
    tokenizer_files: tuple[Path, ...] = ()

    @property
    def encoder_decoder(self) -> bool:
        """Whether it reads with one half and writes with the other, as T5 does."""
        return bool(self.model.config.is_encoder_decoder)

    def save(self, folder: Path, config: FuserTrainingConfig, *, dtype: str = "float16") -> None:
        """Write what `GenFuser.from_pretrained` loads; adapters are merged into the weights.

        Args:
            folder: The folder; made if it is missing.
            config: Settings of the run.
            dtype: Number format of a decoder-only model's weights. T5 overflows in float16 and gets bfloat16.
        """
        import torch

        model = copy.deepcopy(self.model)
        if config.lora is not None:
            model = model.merge_and_unload()
        precision = torch.bfloat16 if self.encoder_decoder else getattr(torch, dtype)
        folder.mkdir(parents=True, exist_ok=True)
        model.to(precision).save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)
        for file in self.tokenizer_files:
            shutil.copyfile(file, folder / file.name)
        limit = {"max_new_tokens": config.target_max_length} if self.encoder_decoder else {"max_new_tokens": 256}
        GenFuserSettings(
            prompt_format=self.prompt_format,
            max_length=config.max_length,
            candidate_max_length=config.candidate_max_length,
            generation={**limit, **config.generation},
        ).save(folder)


def load_base_model(config: FuserTrainingConfig) -> BaseModel:
    """Load the model that a run starts from.

    Args:
        config: Settings; ``model`` is a folder, a hub name, a GGUF file, or a name in the catalogue of local models.

    Returns:
        The model with its encoder; layers frozen and adapters attached as the settings say.

    Raises:
        CheckpointError: It cannot be loaded.
        ConfigurationError: The prompt format and the kind of model do not fit.
        DownloadError: A model of the catalogue cannot be had.
        MissingExtraError: ``gguf`` or ``peft`` is needed and not installed.
    """
    try:
        base = _load(config)
    except BlendError:
        raise
    except Exception as error:  # transformers, the hub, gguf and safetensors raise many kinds
        raise CheckpointError(
            f"{config.model} cannot be loaded as a model to train: {type(error).__name__}: {error}"
        ) from error
    if config.freeze_layers:
        _freeze_embeddings(base.model)
        _freeze_layers(base.model, config.freeze_layers)
    if config.lora is None:
        return base
    return BaseModel(
        _with_adapters(base.model, config.lora, base.encoder_decoder),
        base.encoder,
        base.prompt_format,
        base.pad,
        base.tokenizer,
        base.tokenizer_files,
    )


def _load(config: FuserTrainingConfig) -> BaseModel:
    import transformers

    gguf = gguf_file(config.model, feature="training from a GGUF file")
    where = config.model if gguf is None else str(gguf.parent)
    source: dict[str, Any] = {} if gguf is None else {"gguf_file": gguf.name}
    settings = transformers.AutoConfig.from_pretrained(where, **source)
    both = bool(settings.is_encoder_decoder)
    prompt_format = config.prompt_format
    if prompt_format == "auto":
        prompt_format = "published" if both else "chat"
    family = "AutoModelForSeq2SeqLM" if both else "AutoModelForCausalLM"
    load: LoadOptions = {"device": "cpu", "dtype": "float32"}
    model = load_model(family, where, load, purpose="as a model to train", **source)
    if gguf is not None:
        model = _plain(model)
    if prompt_format == "chat":
        tokenizer = load_tokenizer(where, load, **source)
        end = _first(model.generation_config.eos_token_id, tokenizer.eos_token_id, what="an end token")
        pad = _first(model.generation_config.pad_token_id, tokenizer.pad_token_id, end, what="a pad token")
        chat = ChatLayout(tokenizer)

        def encode_target(text: str) -> list[int]:
            return list(tokenizer.encode(chat.harmless(text), add_special_tokens=False))

        model.generation_config.eos_token_id = model.generation_config.eos_token_id or end
        model.generation_config.pad_token_id = pad
        return BaseModel(model, _encoder(config, chat, encode_target, end), prompt_format, pad, tokenizer)
    if not both:
        raise ConfigurationError(
            f'prompt_format {prompt_format!r} is that of a T5 model, and {config.model} is none; use "chat"'
        )
    files = _tokenizer_files(where)
    sealed = SealedTokenizer.from_file(files[0])
    layout = PaperLayout(sealed) if prompt_format == "paper" else PublishedLayout(sealed)
    encoder = _encoder(config, layout, sealed.encode, sealed.control_id("</s>"))
    return BaseModel(model, encoder, prompt_format, settings.pad_token_id or 0, None, files)


def _encoder(config: FuserTrainingConfig, layout: FusionLayout, encode_target: Any, end: int) -> ExampleEncoder:
    return ExampleEncoder(
        layout=layout,
        encode_target=encode_target,
        end=end,
        max_length=config.max_length,
        candidate_max_length=config.candidate_max_length,
        target_max_length=config.target_max_length,
    )


def _plain(model: Any) -> Any:
    """The same weights in a model that is not marked as quantized: such a one can be neither trained nor saved."""
    import transformers

    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    family: Any = transformers.AutoModelForCausalLM
    plain = family.from_config(config)
    plain.load_state_dict(model.state_dict())
    plain.tie_weights()
    plain.generation_config = copy.deepcopy(model.generation_config)
    return plain


def _freeze_embeddings(model: Any) -> None:
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        # an untied head stays trainable
        if module is not None and (module is model.get_input_embeddings() or model.config.tie_word_embeddings):
            for parameter in module.parameters():
                parameter.requires_grad_(False)


def _freeze_layers(model: Any, count: int) -> None:
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    layers = max(lists, key=len, default=torch.nn.ModuleList())
    if model.config.is_encoder_decoder or count >= len(layers):
        raise ConfigurationError(
            f"freeze_layers is {count}; it must leave some of a decoder-only model's layers to train, "
            f"and {model.config.model_type} has {len(layers)}"
        )
    for layer in layers[:count]:
        for parameter in layer.parameters():
            parameter.requires_grad_(False)


def _with_adapters(model: Any, lora: LoraConfig, encoder_decoder: bool) -> Any:
    from blender_core.runtime.extras import require

    peft = require("peft", feature="LoRA", extra="train")
    modules = lora.target_modules
    settings = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_2_SEQ_LM if encoder_decoder else peft.TaskType.CAUSAL_LM,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        # peft takes the whole set by its name only
        target_modules="all-linear" if modules == ("all-linear",) else list(modules),
    )
    return peft.get_peft_model(model, settings)


def _tokenizer_files(where: str) -> tuple[Path, ...]:
    from transformers.utils.hub import cached_file

    found = [
        cached_file(
            where,
            name,
            _raise_exceptions_for_missing_entries=name == _TOKENIZER_FILES[0],
        )
        for name in _TOKENIZER_FILES
    ]
    return tuple(Path(str(file)) for file in found if file is not None)


def _first(*candidates: Any, what: str) -> int:
    for candidate in candidates:
        if isinstance(candidate, list) and candidate:
            candidate = candidate[0]
        if isinstance(candidate, int):
            return candidate
    raise CheckpointError(f"the model names no {what.removeprefix('a ').removeprefix('an ')} to train with")

"""Load text encoders with sentence-transformers, and refuse what is none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.hub import cached_folder
from blender_core.models.loading import (
    LoadOptions,
    check_tokenizer,
    checked_config,
    hub_options,
    loading,
    optional_file,
)
from blender_core.models.placement import model_placement
from blender_core.runtime.extras import require
from blender_core.runtime.outside import read_json

__all__ = ["load_sentence_transformer"]

_BACKENDS = ("torch", "onnx", "openvino")
_PURPOSE = "as a text encoder"


def load_sentence_transformer(
    name_or_path: str,
    load: LoadOptions,
    *,
    prompts: Mapping[str, str] | None,
    max_tokens: int | None,
    backend: str,
    file_name: str | None,
    quantization: str | None,
) -> Any:
    """Load a ``SentenceTransformer``; the arguments and errors are those of ``TextEncoder.from_pretrained``."""
    library = require("sentence_transformers", feature="TextEncoder.from_pretrained", extra="encoders")
    from blender_core.models.devices import resolve_device, resolve_dtype

    if backend not in _BACKENDS or (max_tokens is not None and max_tokens < 8):
        raise ConfigurationError(
            f"backend is {backend!r} and max_tokens {max_tokens}; choose one of {', '.join(_BACKENDS)}, and at least 8"
        )
    if (file_name and backend == "torch") or (quantization and backend != "torch"):
        raise ConfigurationError(
            f"file_name={file_name!r} and quantization={quantization!r} do not go with backend={backend!r}: a file is "
            "for onnx and openvino, quantized weights are for torch"
        )
    device = resolve_device(load["device"])
    with loading(name_or_path, _PURPOSE):
        if "/" not in name_or_path and not Path(name_or_path).is_dir():
            # the library's own models go by their bare names
            name_or_path = f"sentence-transformers/{name_or_path}"
        path = cached_folder(name_or_path, hub_options(load))
        config, modules = _check_kind(path, load)
        made_in = config.get("dtype") or config.get("torch_dtype")
        # such weights can overflow in float16
        wide = load["dtype"] == "auto" and made_in == "bfloat16" and device.type != "cpu"
        dtype = resolve_dtype("bfloat16" if wide else load["dtype"], device)
        options: dict[str, Any] = {"file_name": file_name} if file_name else {}
        if backend == "torch":
            options = {"dtype": dtype, **model_placement(None, quantization, device=load["device"], dtype=dtype)}
        model = library.SentenceTransformer(
            path,
            device=None if quantization else str(device),
            prompts=None if prompts is None else dict(prompts),
            cache_folder=load["cache_dir"],
            revision=load["revision"],
            local_files_only=load["local_files_only"],
            model_kwargs=options,
            backend=backend,
            trust_remote_code=False,
        )
        if backend == "torch":
            _check_weights(model, path, modules[0]["path"] if modules else "", load)
        if max_tokens is not None:
            model.max_seq_length = max_tokens
    return model


def _check_kind(path: str, load: LoadOptions) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the config of a text encoder, and the modules that it names."""
    modules = _json(path, "modules.json", load) or []
    kind = (_json(path, "config_sentence_transformers.json", load) or {}).get("model_type", "SentenceTransformer")
    config = checked_config(path, load)
    check_tokenizer(path, load)
    made_for = ", ".join(config.get("architectures") or [])
    if kind != "SentenceTransformer" or (not modules and "ForSequenceClassification" in made_for):
        raise CheckpointError(
            f"{path} is no text encoder, but a {made_for or kind}; a classifier with one label ranks with "
            "CrossEncoderRanker"
        )
    if not modules and config and not _reads_both_ways(config):
        raise CheckpointError(
            f"{path} is a {made_for or config.get('model_type')} and does not say how its states become one vector (it "
            "has no modules.json); use a model made for embeddings, or pass a SentenceTransformer with a Pooling"
        )
    return config, modules


def _reads_both_ways(config: Mapping[str, Any]) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder")


def _json(path: str, name: str, load: LoadOptions) -> Any:
    found = optional_file(path, name, load)
    return None if found is None else read_json(found.read_text(encoding="utf-8"))


def _check_weights(model: Any, path: str, subfolder: str, load: LoadOptions) -> None:
    """Refuse a checkpoint that lacks weights; the library fills them with random numbers."""
    inner = model.transformers_model
    if inner is None or getattr(inner, "_hf_peft_config_loaded", False):
        return

    def other_thread(record: logging.LogRecord) -> bool:
        return record.thread != threading.get_ident()

    log = logging.getLogger("transformers.modeling_utils")
    # the library has already shown the report that comes now
    log.addFilter(other_thread)
    try:
        # names alone: nothing is read into memory
        _, report = type(inner).from_pretrained(
            path,
            subfolder=subfolder,
            output_loading_info=True,
            device_map={"": "meta"},
            trust_remote_code=False,
            **hub_options(load),
        )
    finally:
        log.removeFilter(other_thread)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise CheckpointError(
            f"{path} cannot be loaded {_PURPOSE}: it has no weights for {', '.join(missing[:4])} "
            f"({len(missing)} missing); it is damaged"
        )

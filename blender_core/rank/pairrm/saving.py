"""Write a PairRanker checkpoint, in this project's layout or that of PairRM-hf."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from blender_core.errors import ConfigurationError
from blender_core.models.hub import ONNX_FILES, SAFETENSORS
from blender_core.rank.pairrm.onnx_scorer import OnnxPairScorer
from blender_core.rank.pairrm.settings import BLENDED_FORMAT, BackboneShape, PairRankerSettings
from blender_core.rank.pairrm.tokens import PairTokenizer

if TYPE_CHECKING:
    from blender_core.rank.pairrm.deberta import DebertaShape
    from blender_core.rank.pairrm.model import PairRankerModel

__all__ = ["Layout", "encoder_config", "save_checkpoint", "save_onnx"]

Layout = Literal["blended", "pairrm-hf"]


def save_checkpoint(
    folder: Path, layout: Layout, model: PairRankerModel, tokenizer: PairTokenizer, settings: PairRankerSettings
) -> None:
    """Write config, tokenizer and weights.

    Args:
        folder: Created if it is missing; files of the same names are replaced.
        layout: ``"blended"`` keeps every setting. ``"pairrm-hf"`` is the format of the reference's ``DebertaV2PairRM``;
            it lacks lengths, aggregation and calibration.
        model: The network, saved in its dtype.
        tokenizer: Its tokenizer.
        settings: Settings that the weights do not show.

    Raises:
        ConfigurationError: The layout is unknown, or cannot hold this encoder.
    """
    from safetensors.torch import save_file

    tasks = len(model.state_dict()["head_layer.4.bias"])
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    if layout == "blended":
        config = _blended_config(settings, encoder_config(model.shape))
    elif layout == "pairrm-hf":
        if isinstance(model.shape, BackboneShape):
            raise ConfigurationError(
                f"layout 'pairrm-hf' holds DeBERTa only, not {model.shape.config['model_type']}; use layout='blended'"
            )
        config = _pairrm_hf_config(model.shape, tokenizer, tasks, dtype)
    else:
        raise ConfigurationError(f"layout {layout!r} is unknown; choose 'blended' or 'pairrm-hf'")
    definition = tokenizer.saved_definition()
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", config)
    (folder / "tokenizer.json").write_text(definition, encoding="utf-8")
    if layout == "pairrm-hf":
        _write_tokenizer_configs(folder, tokenizer)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    # transformers rejects files without this entry
    save_file(state, folder / SAFETENSORS, metadata={"format": "pt"})


def save_onnx(
    folder: Path,
    network: PairRankerModel | OnnxPairScorer,
    tokenizer: PairTokenizer,
    settings: PairRankerSettings,
    *,
    quantize: bool = False,
) -> None:
    """Write config, tokenizer and ONNX files.

    Args:
        folder: Created if it is missing; files of the same names are replaced.
        network: The network to export, or a loaded export, whose files are copied.
        tokenizer: Its tokenizer.
        settings: Settings that the weights do not show.
        quantize: Also write the int8 file.

    Raises:
        CheckpointError: The tokenizer was not read from a file.
        ConfigurationError: A loaded export has no int8 file to copy.
        MissingExtraError: onnx is not installed.
    """
    definition = tokenizer.saved_definition()
    if isinstance(network, OnnxPairScorer):
        config = network.encoder_config
        found = {name: network.path.with_name(name) for name in ONNX_FILES.values()}
        if quantize and not found[ONNX_FILES["int8"]].is_file():
            raise ConfigurationError(
                f"{network.path.parent} has no {ONNX_FILES['int8']} to copy; export from a ranker with backend='torch'"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in found.items():
            if path.is_file() and path.resolve() != (folder / name).resolve():
                shutil.copyfile(path, folder / name)
    else:
        from blender_core.rank.pairrm.onnx_export import export_network

        config = encoder_config(network.shape)
        folder.mkdir(parents=True, exist_ok=True)
        first = next(network.parameters())
        plain = first.device.type == "cpu" and str(first.dtype) == "torch.float32"
        export_network(network if plain else deepcopy(network).cpu().float(), folder, config, quantize=quantize)
    _write(folder / "config.json", _blended_config(settings, config))
    (folder / "tokenizer.json").write_text(definition, encoding="utf-8")


def _blended_config(settings: PairRankerSettings, encoder: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": BLENDED_FORMAT,
        "format_version": 1,
        "source_max_length": settings.source_max_length,
        "candidate_max_length": settings.candidate_max_length,
        "aggregation": settings.aggregation,
        "both_orders": settings.both_orders,
        "temperature": settings.temperature,
        "position_bias": settings.position_bias,
        "calibration": None if settings.calibration is None else settings.calibration.to_dict(),
        "encoder": dict(encoder),
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def encoder_config(shape: DebertaShape | BackboneShape) -> dict[str, Any]:
    """Build the transformers config of an encoder."""
    if isinstance(shape, BackboneShape):
        return dict(shape.config)
    config: dict[str, Any] = {
        "model_type": "deberta-v2",
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": shape.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate_size,
        "layer_norm_eps": shape.layer_norm_eps,
        "max_position_embeddings": shape.max_distance,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": shape.position_buckets,
        "relative_attention": True,
        "share_att_key": True,
        "type_vocab_size": 0,
        "vocab_size": shape.vocab_size,
    }
    if shape.convolution:
        config |= {
            "conv_act": shape.convolution_activation,
            "conv_groups": shape.convolution_groups,
            "conv_kernel_size": shape.convolution,
        }
    return config


def _pairrm_hf_config(shape: DebertaShape, tokenizer: PairTokenizer, tasks: int, dtype: str) -> dict[str, Any]:
    ids = tokenizer.marker_ids
    return {
        "architectures": ["DebertaV2PairRM"],
        **encoder_config(shape),
        "cand1_prefix_id": ids["<|candidate1|>"],
        "cand2_prefix_id": ids["<|candidate2|>"],
        "cand_prefix_id": ids["<|candidate|>"],
        "drop_out": 0.05,
        "n_tasks": tasks,
        "pad_token_id": tokenizer.pad_id,
        "pooler_dropout": 0,
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": shape.hidden_size,
        # the class reads it, and fails on the published config, which lacks it
        "sep_token_id": tokenizer.sep_id,
        "source_prefix_id": ids["<|source|>"],
        "torch_dtype": dtype,
    }


def _write_tokenizer_configs(folder: Path, tokenizer: PairTokenizer) -> None:
    special = {
        "bos_token": "[CLS]",
        "cls_token": "[CLS]",
        "eos_token": "[SEP]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }
    _write(folder / "special_tokens_map.json", special)
    _write(folder / "added_tokens.json", dict(tokenizer.marker_ids))
    _write(
        folder / "tokenizer_config.json",
        {**special, "do_lower_case": False, "split_by_punct": False, "tokenizer_class": "DebertaV2Tokenizer"},
    )

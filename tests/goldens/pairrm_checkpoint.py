"""Random-weight PairRanker checkpoints in the published layouts, the same bits on every machine.

Runs in two environments: the tests' and the old one in which the goldens are made. So it needs only numpy and
safetensors, and draws from ``numpy.random.RandomState``, whose stream is frozen.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
TOKENIZER = HERE / "pairrm_tokenizer.json"
TINY = {"vocab": 405, "hidden": 128, "layers": 3, "heads": 2, "intermediate": 256}
XSMALL = {"vocab": 128005, "hidden": 384, "layers": 12, "heads": 6, "intermediate": 1536}
SMALL = {"vocab": 128005, "hidden": 768, "layers": 6, "heads": 12, "intermediate": 3072}
BUCKETS = 256


def tensor_shapes(size: dict[str, int], tasks: int = 1) -> dict[str, tuple[int, ...]]:
    """Names and shapes as published, 394 of them for 24 layers."""
    width, inner = size["hidden"], size["intermediate"]
    shapes = {
        "pretrained_model.embeddings.word_embeddings.weight": (size["vocab"], width),
        "pretrained_model.embeddings.LayerNorm.weight": (width,),
        "pretrained_model.embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(size["layers"]):
        prefix = f"pretrained_model.encoder.layer.{layer}."
        for name in ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"):
            shapes |= {f"{prefix}{name}.weight": (width, width), f"{prefix}{name}.bias": (width,)}
        for name, matrix in (
            ("attention.output.dense", (width, width)),
            ("attention.output.LayerNorm", (width,)),
            ("intermediate.dense", (inner, width)),
            ("output.dense", (width, inner)),
            ("output.LayerNorm", (width,)),
        ):
            shapes |= {f"{prefix}{name}.weight": matrix, f"{prefix}{name}.bias": matrix[:1]}
    return shapes | {
        "pretrained_model.encoder.rel_embeddings.weight": (2 * BUCKETS, width),
        "pretrained_model.encoder.LayerNorm.weight": (width,),
        "pretrained_model.encoder.LayerNorm.bias": (width,),
        "head_layer.1.weight": (width, 2 * width),
        "head_layer.1.bias": (width,),
        "head_layer.4.weight": (tasks, width),
        "head_layer.4.bias": (tasks,),
    }


def random_tensors(size: dict[str, int], seed: int = 7, tasks: int = 1) -> dict[str, np.ndarray]:
    """Weights large enough that attention is uneven and logits are far from zero."""
    draw = np.random.RandomState(seed)
    tensors = {}
    for name, shape in tensor_shapes(size, tasks).items():
        noise = draw.standard_normal(shape)
        if "LayerNorm.weight" in name:
            value = 1.0 + 0.1 * noise
        elif name.endswith("bias"):
            value = 0.1 * noise
        elif "embeddings" in name:
            value = noise
        else:
            # queries and keys decide how uneven attention is
            gain = 2.0 if "query" in name or "key" in name else 4.0 if "head_layer.4" in name else 1.0
            value = gain * noise / np.sqrt(shape[-1])
        tensors[name] = value.astype(np.float32)
    return tensors


def ranker_config(**changes: object) -> dict[str, object]:
    """The ranker config that PairRM ships as config.json."""
    return {
        "ranker_type": "pairranker",
        "model_type": "deberta",
        "model_name": "microsoft/deberta-v3-large",
        "cache_dir": None,
        "load_checkpoint": None,
        "source_maxlength": 1224,
        "candidate_maxlength": 412,
        "n_tasks": 1,
        "num_pos": 5,
        "num_neg": 5,
        "sub_sampling_mode": "all_pair",
        "sub_sampling_ratio": 0.4,
        "loss_type": "instructgpt",
        "reduce_type": "linear",
        "inference_mode": "bubble",
        "drop_out": 0.05,
        "fp16": True,
        **changes,
    }


def transformers_config(size: dict[str, int], tasks: int = 1) -> dict[str, object]:
    """The transformers config that PairRM-hf ships, for this size."""
    return {
        "architectures": ["DebertaV2PairRM"],
        "attention_probs_dropout_prob": 0.1,
        "cand1_prefix_id": size["vocab"] - 3,
        "cand2_prefix_id": size["vocab"] - 2,
        "cand_prefix_id": size["vocab"] - 1,
        "drop_out": 0.05,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": size["hidden"],
        "initializer_range": 0.02,
        "intermediate_size": size["intermediate"],
        "layer_norm_eps": 1e-07,
        "max_position_embeddings": 512,
        "max_relative_positions": -1,
        "model_type": "deberta-v2",
        "n_tasks": tasks,
        "norm_rel_ebd": "layer_norm",
        "num_attention_heads": size["heads"],
        "num_hidden_layers": size["layers"],
        "pad_token_id": 0,
        "pooler_dropout": 0,
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": size["hidden"],
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": BUCKETS,
        "relative_attention": True,
        "share_att_key": True,
        "source_prefix_id": size["vocab"] - 4,
        "torch_dtype": "float32",
        "transformers_version": "4.35.2",
        "type_vocab_size": 0,
        "vocab_size": size["vocab"],
    }


def write_checkpoint(
    folder: Path,
    config: dict[str, object],
    size: dict[str, int] = TINY,
    *,
    tensors: dict[str, np.ndarray] | None = None,
    tokenizer: Path = TOKENIZER,
) -> Path:
    """Write config, safetensors and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(random_tensors(size) if tensors is None else tensors, folder / "model.safetensors")
    shutil.copy(tokenizer, folder / "tokenizer.json")
    return folder

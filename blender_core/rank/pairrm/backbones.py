"""Encoders other than DeBERTa under the PairRanker head: RoBERTa, BERT (and MiniLM), ModernBERT.

These are transformers' own modules, built from a config without any download. DeBERTa has an encoder of its own
(``deberta``), because most of its time can be saved there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from blender_core.extras import require
from blender_core.rank.pairrm.backbone_shape import BACKBONES, BackboneShape

__all__ = ["BACKBONES", "BackboneShape", "build_backbone", "hidden_at"]


def build_backbone(shape: BackboneShape) -> nn.Module:
    """Build an encoder with random weights, on the CPU.

    Args:
        shape: Its config.

    Returns:
        The module, without a pooler.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = require("transformers", feature=f"a {shape.config['model_type']} PairRanker", extra="torch")
    options = {} if shape.config["model_type"] == "modernbert" else {"add_pooling_layer": False}
    values = dict(shape.config)
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    module: nn.Module = transformers.AutoModel.from_config(config, **options)
    return module


def hidden_at(encoder: nn.Module, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """Last hidden states of a transformers encoder at some positions.

    Args:
        encoder: From ``build_backbone``.
        ids: Token ids, shape [batch, length].
        mask: True at tokens, shape [batch, length].
        positions: Shape [batch, wanted].

    Returns:
        Shape [batch, wanted, hidden].
    """
    hidden: Tensor = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return hidden[torch.arange(len(ids), device=ids.device)[:, None], positions]

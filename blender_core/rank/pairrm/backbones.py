"""Encoders other than DeBERTa under the PairRanker head: RoBERTa, BERT (and MiniLM), ModernBERT.

These are transformers' own modules, built from a config without any download. DeBERTa has an encoder of its own
(``deberta``), because most of its time can be saved there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from blender_core.rank.pairrm.backbone_shape import BACKBONES, BackboneShape
from blender_core.runtime.extras import require

__all__ = ["BACKBONES", "BackboneShape", "build_backbone", "hidden_at", "pooled"]


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
    values = {key: value for key, value in shape.config.items() if key != "pooling"}
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    module: nn.Module = transformers.AutoModel.from_config(config, **options)
    return module


def hidden_at(encoder: nn.Module, ids: Tensor, mask: Tensor, positions: Tensor, pooling: str = "markers") -> Tensor:
    """What the head reads of a transformers encoder's last hidden states.

    Args:
        encoder: From ``build_backbone``.
        ids: Token ids, shape [batch, length].
        mask: True at tokens, shape [batch, length].
        positions: Places of the markers, in rising order, shape [batch, wanted].
        pooling: ``"markers"``: the states at the markers; ``"segments"``: the mean state from each marker up to the
            next one.

    Returns:
        Shape [batch, wanted, hidden].
    """
    hidden: Tensor = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return pooled(hidden, mask, positions, pooling)


def pooled(hidden: Tensor, mask: Tensor, positions: Tensor, pooling: str) -> Tensor:
    """The states of some texts, out of those of their tokens; written so that it can be traced.

    Args:
        hidden: Shape [batch, length, hidden].
        mask: As in ``hidden_at``, and so are the others.
        positions: See there.
        pooling: See there.

    Returns:
        Shape [batch, wanted, hidden].
    """
    if pooling == "markers":
        return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
    ends = torch.cat([positions[:, 1:], mask.long().sum(1, keepdim=True)], dim=1)
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    inside = ((steps >= positions[..., None]) & (steps < ends[..., None])).to(hidden.dtype)
    return torch.bmm(inside, hidden) / inside.sum(-1, keepdim=True)

"""Define the PairRanker network: an encoder, and a head that scores each candidate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from blender_core.rank.pairrm.deberta import DebertaEncoder, DebertaShape, Projections
from blender_core.rank.pairrm.settings import BACKBONES, BackboneShape
from blender_core.runtime.extras import require

__all__ = [
    "BACKBONES",
    "BackboneShape",
    "PairRankerModel",
    "build_backbone",
    "hidden_at",
    "pooled",
]


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
    """Compute the input of the head from a transformers encoder's last hidden states.

    Args:
        encoder: From ``build_backbone``.
        ids: Token ids, shape [batch, length].
        mask: True at tokens, shape [batch, length].
        positions: Positions of the markers, ascending, shape [batch, wanted].
        pooling: ``"markers"``: the states at the markers; ``"segments"``: the mean state from each marker up to the
            next one.

    Returns:
        Shape [batch, wanted, hidden].
    """
    hidden: Tensor = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return pooled(hidden, mask, positions, pooling)


def pooled(hidden: Tensor, mask: Tensor, positions: Tensor, pooling: str) -> Tensor:
    """Pool the states of tokens into those of texts; this function can be traced.

    Args:
        hidden: Shape [batch, length, hidden].
        mask: As in ``hidden_at``.
        positions: As in ``hidden_at``.
        pooling: As in ``hidden_at``.

    Returns:
        Shape [batch, wanted, hidden].
    """
    if pooling == "markers":
        return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
    ends = torch.cat([positions[:, 1:], mask.long().sum(1, keepdim=True)], dim=1)
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    inside = ((steps >= positions[..., None]) & (steps < ends[..., None])).to(hidden.dtype)
    return torch.bmm(inside, hidden) / inside.sum(-1, keepdim=True)


class PairRankerModel(nn.Module):
    """Compares two candidates in one sequence.

    Parameter names are those of the published checkpoints (``pretrained_model.*``, ``head_layer.1``,
    ``head_layer.4``).

    Args:
        shape: Sizes of a DeBERTa encoder, or the config of a transformers encoder.
        tasks: Outputs of the head; their mean is the logit.
    """

    def __init__(self, shape: DebertaShape | BackboneShape, tasks: int = 1) -> None:
        super().__init__()
        self.shape = shape
        self.pretrained_model = DebertaEncoder(shape) if isinstance(shape, DebertaShape) else build_backbone(shape)
        self.pooling = shape.pooling if isinstance(shape, BackboneShape) else "markers"
        width = shape.hidden_size
        # dropout is part of the published numbering and inactive in inference
        self.head_layer = nn.Sequential(
            nn.Dropout(0.05),
            nn.Linear(2 * width, width),
            nn.Tanh(),
            nn.Dropout(0.05),
            nn.Linear(width, tasks),
        )

    def relative_projections(self) -> Projections | None:
        """Project DeBERTa's distance table once; return ``None`` for other encoders."""
        encoder = self.pretrained_model
        return encoder.relative_projections() if isinstance(encoder, DebertaEncoder) else None

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, projections: Projections | None = None) -> Tensor:
        """Compute the logit that the left candidate is better than the right one.

        Args:
            ids: Token ids, shape [batch, length].
            mask: True at tokens, shape [batch, length].
            positions: Positions of ``<|source|>``, ``<|candidate1|>`` and ``<|candidate2|>``, shape [batch, 3].
            projections: From ``relative_projections()``.

        Returns:
            Shape [batch]; positive means the left one is better.
        """
        left, right = self.side_scores(ids, mask, positions, projections)
        logits: Tensor = (left - right).mean(dim=-1)
        return logits

    def side_scores(
        self, ids: Tensor, mask: Tensor, positions: Tensor, projections: Projections | None = None
    ) -> tuple[Tensor, Tensor]:
        """Score the left and the right candidate: two tensors of shape [batch, tasks]."""
        encoder = self.pretrained_model
        if isinstance(encoder, DebertaEncoder):
            hidden = encoder(ids, mask, positions, projections)
        else:
            hidden = hidden_at(encoder, ids, mask, positions, self.pooling)
        return self.scores_of(hidden)

    def scores_of(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Score both candidates from the states at the markers, shape [batch, 3, hidden]; see ``side_scores``."""
        source, left, right = hidden.unbind(1)
        left_scores: Tensor = self.head_layer(torch.cat([source, left], dim=-1))
        right_scores: Tensor = self.head_layer(torch.cat([source, right], dim=-1))
        return left_scores, right_scores

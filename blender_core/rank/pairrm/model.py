"""The PairRanker network: an encoder and a head that scores each candidate beside the source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blender_core.rank.pairrm.backbones import BackboneShape, build_backbone, hidden_at
from blender_core.rank.pairrm.deberta import DebertaEncoder, DebertaShape, RelativeProjection

__all__ = ["PairRankerModel"]


class PairRankerModel(nn.Module):
    """Compares two candidates that stand in one sequence.

    Parameter names are those of the published checkpoints (``pretrained_model.*``, ``head_layer.1``,
    ``head_layer.4``).

    Args:
        shape: Sizes of a DeBERTa encoder, or the config of one of transformers' own.
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

    def relative_projections(self) -> tuple[RelativeProjection, ...] | None:
        """What DeBERTa can compute once for a loaded model; ``None`` for other encoders."""
        encoder = self.pretrained_model
        return encoder.relative_projections() if isinstance(encoder, DebertaEncoder) else None

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        projections: Sequence[RelativeProjection] | None = None,
    ) -> Tensor:
        """Logit that the left candidate is better than the right one.

        Args:
            ids: Token ids, shape [batch, length].
            mask: True at tokens, shape [batch, length].
            positions: Places of ``<|source|>``, ``<|candidate1|>`` and ``<|candidate2|>``, shape [batch, 3].
            projections: From ``relative_projections()``.

        Returns:
            Shape [batch]; positive means the left one is better.
        """
        left, right = self.side_scores(ids, mask, positions, projections)
        logits: Tensor = (left - right).mean(dim=-1)
        return logits

    def side_scores(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        projections: Sequence[RelativeProjection] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Scores of the left and of the right candidate, whose difference is the logit.

        Args:
            ids: As in ``forward``, and so are the others.
            mask: See there.
            positions: See there.
            projections: See there.

        Returns:
            Two tensors, shape [batch, tasks].
        """
        encoder = self.pretrained_model
        if isinstance(encoder, DebertaEncoder):
            hidden = encoder(ids, mask, positions, projections)
        else:
            hidden = hidden_at(encoder, ids, mask, positions, self.pooling)
        source, left, right = hidden.unbind(1)
        left_scores: Tensor = self.head_layer(torch.cat([source, left], dim=-1))
        right_scores: Tensor = self.head_layer(torch.cat([source, right], dim=-1))
        return left_scores, right_scores

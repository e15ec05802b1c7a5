"""The one-pass form: each candidate is read once beside the prompt, as the embedded ranker does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from blender_core.errors import ConfigurationError
from blender_core.models.batches import token_batches
from blender_core.models.segments import SegmentedText, SegmentLayout
from blender_lab.ranker.architecture import Sides, freeze_layers, in_order
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.model import SegmentPooledScorer, longest_row
from blender_lab.ranker.sampling import Group
from blender_lab.training.precision import forward_precision, mixed_precision

__all__ = ["OnePassForm", "score_rows"]


def score_rows(
    model: SegmentPooledScorer, rows: Sequence[SegmentedText], *, tokens_per_batch: int, precision: str = "float32"
) -> torch.Tensor:
    """Score rows in batches of similar length, so that little is padding.

    Args:
        model: The scorer.
        rows: Encoded prompt and answer pairs.
        tokens_per_batch: Padded tokens in one forward pass.
        precision: ``"float32"``, or the mixed precision ``"bfloat16"`` or ``"float16"``.

    Returns:
        Scores, shape (rows,), in the order of ``rows``.
    """
    device = next(model.parameters()).device
    order: list[int] = []
    scores: list[torch.Tensor] = []
    for part in token_batches([len(row.token_ids) for row in rows], tokens_per_batch):
        order += part
        width = len(rows[part[0]].token_ids)
        ids = torch.zeros(len(part), width, dtype=torch.long)
        mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
        for line, index in enumerate(part):
            row = rows[index]
            ids[line, : len(row.token_ids)] = torch.tensor(row.token_ids)
            mask[line, : len(row.token_ids)] = 1
            kinds[line, row.answer_start : len(row.token_ids)] = 1
        with mixed_precision(device, precision):
            scores.append(model(ids.to(device), mask.to(device), kinds.to(device)).float())
    return in_order(scores, order)


class OnePassForm:
    """Scores a pair as the scores of its two candidates, each from a pass of its own.

    A candidate that stands in many pairs is read once, and swapping a pair swaps its scores.

    Args:
        model: The scorer, on its device.
        layout: How prompt and answer are joined.
        config: Learning rates, batches and precision are read.

    Raises:
        ConfigurationError: A window of the run is longer than the encoder's.
    """

    reads_order = False

    def __init__(self, model: SegmentPooledScorer, layout: SegmentLayout, config: RankerTrainingConfig) -> None:
        longest = longest_row(model.encoder)
        if config.largest_window > longest:
            raise ConfigurationError(f"max_tokens is {config.largest_window}; the encoder reads at most {longest}")
        self.model = model
        self.layout = layout
        self._config = config
        self._precision = forward_precision(config, next(model.parameters()).device)

    @property
    def module(self) -> nn.Module:
        """The scorer."""
        return self.model

    def sides(self, groups: Sequence[Group], window: int) -> Sides:
        """Score both sides of every pair; see ``Architecture.sides``."""
        rows = [self.layout.join(group.prompt, answer, window) for group in groups for answer in group.answers]
        scores = score_rows(self.model, rows, tokens_per_batch=self._config.tokens_per_batch, precision=self._precision)
        left: list[int] = []
        right: list[int] = []
        start = 0
        for group in groups:
            left += [start + pair[0] for pair in group.pairs]
            right += [start + pair[1] for pair in group.pairs]
            start += len(group.answers)
        return Sides(scores[left], scores[right], len(rows))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Encoder and head, each with its rate."""
        config = self._config
        if config.freeze_embeddings:
            for name, parameter in self.model.encoder.named_parameters():
                parameter.requires_grad_(not name.startswith("embeddings."))
        freeze_layers(self.model.encoder, config.freeze_layers)
        encoder = [parameter for parameter in self.model.encoder.parameters() if parameter.requires_grad]
        head = list(self.model.head.parameters())
        return [
            {"params": encoder, "lr": config.learning_rate, "peak": config.learning_rate},
            {"params": head, "lr": config.head_learning_rate, "peak": config.head_learning_rate},
        ]

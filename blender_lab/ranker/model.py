"""The network: an encoder over prompt and answer, mean-pooled by segment, and a small head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blender_core.errors import CheckpointError

__all__ = ["ENCODERS", "SegmentPooledScorer", "load_encoder", "longest_row", "tiny_encoder"]

ENCODERS = ("bert", "mpnet", "roberta")
"""Kinds of encoders that the head goes on; only ``"bert"`` knows segments by an embedding of their own."""


def load_encoder(folder: str | Path) -> nn.Module:
    """Load an encoder without its pooler and with every dropout at 0.

    Args:
        folder: Folder with ``config.json`` and ``model.safetensors``; the model is one of ``ENCODERS``.

    Returns:
        The encoder, weights in float32.

    Raises:
        CheckpointError: The folder holds no such model.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging as display

    folder = Path(folder)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} holds no readable config.json: {error}; give an encoder's folder") from error
    if kind not in ENCODERS:
        raise CheckpointError(f"{folder} holds a {kind!r} model; this head goes on one of {', '.join(ENCODERS)}")
    config = AutoConfig.from_pretrained(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    shown = display.is_progress_bar_enabled()
    # the run has a bar of its own
    display.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        encoder: nn.Module = AutoModel.from_pretrained(
            folder, config=config, add_pooling_layer=False, use_safetensors=True, dtype=torch.float32
        )
    finally:
        if shown:
            display.enable_progress_bar()  # type: ignore[no-untyped-call]
    return encoder


def longest_row(encoder: nn.Module) -> int:
    """Most tokens of a row that an encoder has positions for."""
    config: Any = encoder.config
    # these count positions from the one after the padding's
    before = {"mpnet": 2, "roberta": int(config.pad_token_id or 0) + 1}.get(config.model_type, 0)
    return int(config.max_position_embeddings) - before


def tiny_encoder(*, vocabulary: int = 200, width: int = 32, layers: int = 1, positions: int = 64) -> nn.Module:
    """A random BERT encoder for trials and tests.

    Args:
        vocabulary: Number of token ids.
        width: Hidden size; a multiple of 4.
        layers: Number of layers.
        positions: Longest row in tokens.

    Returns:
        The encoder.
    """
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    encoder: nn.Module = BertModel(config, add_pooling_layer=False)
    return encoder


class SegmentPooledScorer(nn.Module):
    """Scores one answer to one prompt.

    With q and a the mean of the last hidden states over the prompt's and the answer's tokens, the score is
    ``head([q, a, q * a, |q - a|])``. The logit that answer 1 is better than answer 2 is the difference of
    their scores, so swapping the two negates it.

    Args:
        encoder: An encoder as ``load_encoder`` gives; its config gives ``hidden_size``, and ``type_vocab_size`` where
            it embeds segments.
        head_size: Width of the head's hidden layer.
        dropout: Dropout on the pooled features.
    """

    def __init__(self, encoder: nn.Module, *, head_size: int = 384, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        config: Any = encoder.config
        width = int(config.hidden_size)
        self._embeds_segments = int(getattr(config, "type_vocab_size", 1)) > 1
        self.head = nn.Sequential(
            nn.LayerNorm(4 * width),
            nn.Dropout(dropout),
            nn.Linear(4 * width, head_size),
            nn.GELU(),
            nn.Linear(head_size, 1),
        )

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Score a batch.

        Args:
            input_ids: Token ids, shape (batch, tokens).
            attention_mask: 1 for tokens, 0 for padding, same shape.
            token_type_ids: 0 for the prompt, 1 for the answer, same shape.

        Returns:
            Scores, shape (batch,).
        """
        segments = {"token_type_ids": token_type_ids} if self._embeds_segments else {}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **segments).last_hidden_state.float()
        answer_mask = (token_type_ids * attention_mask).unsqueeze(-1).float()
        prompt_mask = attention_mask.unsqueeze(-1).float() - answer_mask
        q = (hidden * prompt_mask).sum(1) / prompt_mask.sum(1).clamp(min=1.0)
        a = (hidden * answer_mask).sum(1) / answer_mask.sum(1).clamp(min=1.0)
        features = torch.cat([q, a, q * a, (q - a).abs()], dim=-1)
        scores: torch.Tensor = self.head(features).squeeze(-1)
        return scores

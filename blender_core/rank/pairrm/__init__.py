"""Run the paper's PairRanker: cross-encoder, checkpoints, id layout, batches."""

from __future__ import annotations

__all__: list[str] = []

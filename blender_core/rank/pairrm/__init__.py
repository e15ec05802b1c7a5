"""The paper's PairRanker: the cross-encoder, its checkpoints, its id layout, its batches."""

from __future__ import annotations

__all__: list[str] = []

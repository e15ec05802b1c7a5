"""Retrieval for LlamaIndex.

- ``PairRankerRerank`` orders nodes within a budget of comparisons.
- ``PairRankerEvaluator`` compares two responses, in both orders.
- ``EncoderEmbedding`` embeds with any function from texts to vectors; ``local_embedding.local_embedding()`` makes one
  that runs on this machine.

Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llamaindex_blender.rag.evaluator import PairRankerEvaluator
    from llamaindex_blender.rag.local_embedding import EncoderEmbedding
    from llamaindex_blender.rag.rerank import PairRankerRerank

_HOMES = {
    "EncoderEmbedding": "local_embedding",
    "PairRankerEvaluator": "evaluator",
    "PairRankerRerank": "rerank",
}

__all__ = ["EncoderEmbedding", "PairRankerEvaluator", "PairRankerRerank"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)

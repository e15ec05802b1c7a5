"""Blend query engines in LlamaIndex, and rank nodes and responses by a ranker.

- ``BlendedQueryEngine`` blends several query engines.
- ``BlendedSynthesizer`` blends several LLMs that read the nodes of one retriever.
- ``PairRankerRerank`` orders nodes within a budget of forward passes.
- ``PairRankerEvaluator`` compares two responses in both orders.
- ``EncoderEmbedding`` embeds with any text encoder; by default with the one in the package.

Names are imported at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from llamaindex_blender.rag.encoder_embedding import EncoderEmbedding
    from llamaindex_blender.rag.evaluator import PairRankerEvaluator
    from llamaindex_blender.rag.query_engine import BlendedQueryEngine, QueryEngineMember
    from llamaindex_blender.rag.rerank import PairRankerRerank
    from llamaindex_blender.rag.synthesizer import BlendedSynthesizer

_HOMES = {
    "llamaindex_blender.rag.encoder_embedding": "EncoderEmbedding",
    "llamaindex_blender.rag.evaluator": "PairRankerEvaluator",
    "llamaindex_blender.rag.query_engine": "BlendedQueryEngine QueryEngineMember",
    "llamaindex_blender.rag.rerank": "PairRankerRerank",
    "llamaindex_blender.rag.synthesizer": "BlendedSynthesizer",
}

__all__ = [
    "BlendedQueryEngine",
    "BlendedSynthesizer",
    "EncoderEmbedding",
    "PairRankerEvaluator",
    "PairRankerRerank",
    "QueryEngineMember",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

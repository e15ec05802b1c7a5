"""Blend retrieval chains in LangChain, and rank documents by a ranker.

- ``BlendedRAG`` asks several retrieval chains and returns one answer with its documents.
- ``retrieval_chain`` makes a chain of a retriever and an LLM. It numbers the documents, so that answers can cite them.
- ``PairRankerCompressor`` orders documents within a budget of forward passes.
- ``BlendedRetriever`` asks several retrievers and orders the union of their documents.
- ``EncoderEmbeddings`` embeds with any text encoder; by default with the one in the package.

``blender_core.rag`` describes how groundedness is measured and how citations are renumbered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_blender.rag.blended_rag import BlendedRAG
    from langchain_blender.rag.chain_member import RetrievalChainMember
    from langchain_blender.rag.compressor import PairRankerCompressor
    from langchain_blender.rag.encoder_embeddings import EncoderEmbeddings
    from langchain_blender.rag.numbered_context import retrieval_chain
    from langchain_blender.rag.retriever import BlendedRetriever

_HOMES = {
    "langchain_blender.rag.blended_rag": "BlendedRAG",
    "langchain_blender.rag.chain_member": "RetrievalChainMember",
    "langchain_blender.rag.compressor": "PairRankerCompressor",
    "langchain_blender.rag.encoder_embeddings": "EncoderEmbeddings",
    "langchain_blender.rag.numbered_context": "retrieval_chain",
    "langchain_blender.rag.retriever": "BlendedRetriever",
}

__all__ = [
    "BlendedRAG",
    "BlendedRetriever",
    "EncoderEmbeddings",
    "PairRankerCompressor",
    "RetrievalChainMember",
    "retrieval_chain",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

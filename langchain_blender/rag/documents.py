"""Convert between LangChain documents and the engine's sources; documents are copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document

from blender_core.rag import LinkedSource, Source

__all__ = ["BLEND_KEY", "SCORE_KEY", "linked_document", "to_source", "with_metadata"]

# metadata key of the blend's own facts about a document
BLEND_KEY = "blend"
# metadata key of the score of LangChain's rerankers
SCORE_KEY = "relevance_score"


def to_source(document: Document) -> Source:
    """Convert a document to a source.

    Args:
        document: A retrieved document.

    Returns:
        The source, without the metadata of a blend or a reranker: they do not make it another source.

    Examples:
        >>> to_source(Document("The port is 8080.", metadata={"page": 3, "relevance_score": 0.5}))
        Source(text='The port is 8080.', id='', metadata={'page': 3}, score=0.5)
    """
    score = document.metadata.get(SCORE_KEY)
    return Source(
        document.page_content,
        id=document.id or "",
        metadata={key: value for key, value in document.metadata.items() if key not in (BLEND_KEY, SCORE_KEY)},
        score=float(score) if isinstance(score, int | float) else None,
        native=document,
    )


def linked_document(linked: LinkedSource) -> Document:
    """Convert a source of a result to a document.

    Args:
        linked: The source, and the chains that used it.

    Returns:
        A copy of the retrieved document. ``metadata["blend"]`` has its citation number and the names of the chains
        that used it and that cited it, best first. A source of another framework becomes a new document.
    """
    source = linked.source
    if isinstance(source.native, Document):
        document = source.native
    else:
        document = Document(source.text, id=source.id or None, metadata=dict(source.metadata))
    known = {"number": linked.number, "used_by": list(linked.used_by), "cited_by": list(linked.cited_by)}
    return with_metadata(document, {BLEND_KEY: known})


def with_metadata(document: Document, more: Mapping[str, Any]) -> Document:
    """Copy a document with further metadata.

    Args:
        document: A document; not changed.
        more: Added to the metadata.

    Returns:
        The copy.
    """
    return document.model_copy(update={"metadata": {**document.metadata, **more}})

"""LangChain documents on one side, the engine's sources on the other. Documents are copied, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document

from blender_core.rag import LinkedSource, Source

__all__ = ["BLEND_KEY", "SCORE_KEY", "linked_document", "to_source", "with_metadata"]

# where copies say what the blend knows of a document
BLEND_KEY = "blend"
# where rerankers of LangChain write their score
SCORE_KEY = "relevance_score"


def to_source(document: Document) -> Source:
    """Read a document for the engine.

    Args:
        document: A retrieved document.

    Returns:
        The source; what a blend or a reranker wrote into the metadata does not make it another one.

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
    """A source of a result as a document.

    Args:
        linked: The source, and who used it.

    Returns:
        A copy of the retrieved document. ``metadata["blend"]`` has its number in citations, and the names of the
        chains that used and that cited it, best first. A source of another framework becomes a new document.
    """
    source = linked.source
    if isinstance(source.native, Document):
        document = source.native
    else:
        document = Document(source.text, id=source.id or None, metadata=dict(source.metadata))
    known = {"number": linked.number, "used_by": list(linked.used_by), "cited_by": list(linked.cited_by)}
    return with_metadata(document, {BLEND_KEY: known})


def with_metadata(document: Document, more: Mapping[str, Any]) -> Document:
    """A copy of a document that knows more.

    Args:
        document: A document; stays as it is.
        more: Added to the metadata.

    Returns:
        The copy.
    """
    return document.model_copy(update={"metadata": {**document.metadata, **more}})

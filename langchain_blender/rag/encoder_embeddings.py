"""Use any text encoder as a LangChain embedding model."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from blender_core.models.text_encoder import TextEncoder
from blender_core.runtime.threads import call_in_thread

__all__ = ["EncoderEmbeddings"]


class EncoderEmbeddings(Embeddings):
    """Embeds with any encoder: by default all-MiniLM-L6-v2 in the package, without a download and without torch.

    Args:
        encoder: Any encoder that ``blender_core.rank.TextEncoder`` takes: a hub name such as
            ``"Qwen/Qwen3-Embedding-0.6B"``, a ``SentenceTransformer``, a function from texts to vectors. A query gets
            the encoder's instruction for queries, a document that for documents.

    Examples:
        >>> EncoderEmbeddings(lambda texts: [[float(len(text)), 1.0] for text in texts]).embed_query("abc")
        [3.0, 1.0]
    """

    def __init__(self, encoder: Any = None) -> None:
        self._encoder = TextEncoder(encoder)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts; one vector for each text."""
        vectors: list[list[float]] = self._encoder.documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        vector: list[float] = self._encoder.queries([text])[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts in a thread."""
        return await call_in_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a question in a thread."""
        return await call_in_thread(self.embed_query, text)

"""Use a text encoder as a LangChain embedding model."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.embeddings import Embeddings

from blender_core.models.text_encoder import Encode, TextEncoder, local_text_encoder, vectors_of
from blender_core.runtime.threads import call_in_thread

__all__ = ["EncoderEmbeddings", "local_embeddings"]


class EncoderEmbeddings(Embeddings):
    """Embeds with a function from texts to vectors, such as a ``TextEncoder``.

    Args:
        encode: Takes n texts, returns an array ``[n, size]``. It must be safe to call from several threads.

    Examples:
        >>> EncoderEmbeddings(lambda texts: [[float(len(text)), 1.0] for text in texts]).embed_query("abc")
        [3.0, 1.0]
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts; one vector for each text."""
        return vectors_of(self._encode, texts)

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts in a thread."""
        return await call_in_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a question in a thread."""
        return await call_in_thread(self.embed_query, text)


def local_embeddings(load: Callable[..., TextEncoder] = TextEncoder.from_pretrained) -> EncoderEmbeddings:
    """Make an embedding model of all-MiniLM-L6-v2; see ``local_text_encoder``."""
    return EncoderEmbeddings(local_text_encoder(load))

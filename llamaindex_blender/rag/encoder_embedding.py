"""Use any text encoder as a LlamaIndex embedding model."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from blender_core.models.text_encoder import SHIPPED_ENCODER, TextEncoder
from blender_core.runtime.threads import call_in_thread

__all__ = ["EncoderEmbedding"]


class EncoderEmbedding(BaseEmbedding):
    """Embeds with any encoder: by default all-MiniLM-L6-v2 in the package, without a download and without torch.

    Args:
        encoder: Any encoder that ``blender_core.rank.TextEncoder`` takes: a hub name such as
            ``"Qwen/Qwen3-Embedding-0.6B"``, a ``SentenceTransformer``, a function from texts to vectors. A query gets
            the encoder's instruction for queries, a text that for documents. Default: ``model_name``.
        **kwargs: Fields of ``BaseEmbedding``, for example ``embed_batch_size``. ``model_name`` names the vectors in
            caches; default the encoder's name.

    Examples:
        >>> EncoderEmbedding(lambda texts: [[float(len(text)), 1.0] for text in texts]).get_text_embedding("abc")
        [3.0, 1.0]
    """

    _encoder: TextEncoder = PrivateAttr()

    def __init__(self, encoder: Any = None, **kwargs: Any) -> None:
        # the serialised form has the name alone
        name = kwargs.pop("model_name", None)
        made = TextEncoder(encoder if encoder is not None or name == SHIPPED_ENCODER else name)
        super().__init__(model_name=name or made.name, **kwargs)
        self._encoder = made

    @classmethod
    def class_name(cls) -> str:
        """Return the name in the serialised form."""
        return "EncoderEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._encoder.documents(texts).tolist()
        return vectors

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._encoder.queries([query])[0].tolist()
        return vector

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await call_in_thread(self._get_text_embeddings, texts)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await call_in_thread(self._get_text_embedding, text)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await call_in_thread(self._get_query_embedding, query)

"""Use a text encoder as a LlamaIndex embedding model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from blender_core.local.encoder import ENCODER_NAME
from blender_core.models.text_encoder import Encode, TextEncoder, local_text_encoder, vectors_of
from blender_core.runtime.threads import call_in_thread

__all__ = ["EncoderEmbedding", "local_embedding"]


class EncoderEmbedding(BaseEmbedding):
    """Embeds with a function from texts to vectors, such as a ``TextEncoder``.

    Args:
        encode: Takes n texts, returns an array ``[n, size]``. It must be safe to call from several threads.
        **kwargs: Fields of ``BaseEmbedding``, for example ``model_name`` or ``embed_batch_size``.

    Examples:
        >>> EncoderEmbedding(lambda texts: [[float(len(text)), 1.0] for text in texts]).get_text_embedding("abc")
        [3.0, 1.0]
    """

    _encode: Encode = PrivateAttr()

    def __init__(self, encode: Encode, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._encode = encode

    @classmethod
    def class_name(cls) -> str:
        """Return the name in the serialised form."""
        return "EncoderEmbedding"

    def _vectors(self, texts: list[str]) -> list[list[float]]:
        return vectors_of(self._encode, texts)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._vectors(texts)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._vectors([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._vectors([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await call_in_thread(self._get_query_embedding, query)


def local_embedding(load: Callable[..., TextEncoder] = TextEncoder.from_pretrained) -> EncoderEmbedding:
    """Make an embedding model of all-MiniLM-L6-v2; see ``local_text_encoder``."""
    return EncoderEmbedding(local_text_encoder(load), model_name=ENCODER_NAME)

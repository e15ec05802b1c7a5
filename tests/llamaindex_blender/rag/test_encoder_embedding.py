"""A text encoder of the engine as a LlamaIndex embedding model."""

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import Document, VectorStoreIndex

from blender_core.errors import BlendError
from llamaindex_blender.rag.encoder_embedding import EncoderEmbedding

WORDS = ["rhine", "elbe", "cologne", "dresden"]


def count_words(texts):
    return [[float(text.lower().count(word)) + 0.01 for word in WORDS] for text in texts]


def test_an_index_finds_with_it():
    documents = [Document(text="The Rhine flows through Cologne."), Document(text="The Elbe flows through Dresden.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=EncoderEmbedding(count_words))
    found = index.as_retriever(similarity_top_k=1).retrieve("Dresden?")
    assert [node.text for node in found] == ["The Elbe flows through Dresden."]


async def test_asynchronous_calls_give_the_same_vectors():
    embedding = EncoderEmbedding(count_words, embed_batch_size=2)
    assert await embedding.aget_query_embedding("Elbe") == embedding.get_query_embedding("Elbe")
    assert await embedding.aget_text_embedding("Elbe") == embedding.get_text_embedding("Elbe")
    texts = ["Elbe", "Rhine", "Dresden"]
    assert await embedding.aget_text_embedding_batch(texts) == embedding.get_text_embedding_batch(texts)


def test_the_serialised_form_is_the_same_encoder_or_an_error():
    shipped = EncoderEmbedding()
    again = EncoderEmbedding.from_dict(shipped.to_dict())
    assert again.get_query_embedding("Elbe") == shipped.get_query_embedding("Elbe")
    own = EncoderEmbedding(count_words).to_dict()
    # an ingestion cache tells encoders apart by this form
    assert own != shipped.to_dict() != EncoderEmbedding(lambda texts: [[1.0]] * len(texts)).to_dict() != own
    with pytest.raises(BlendError, match="count_words"):
        EncoderEmbedding.from_dict(own)

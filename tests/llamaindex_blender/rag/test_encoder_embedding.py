"""A text encoder of the engine as a LlamaIndex embedding model."""

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import Document, VectorStoreIndex

from llamaindex_blender.rag.encoder_embedding import EncoderEmbedding

WORDS = ["rhine", "elbe", "cologne", "dresden"]


def count_words(texts):
    return [[float(text.lower().count(word)) + 0.01 for word in WORDS] for text in texts]


def test_an_index_finds_with_it():
    documents = [Document(text="The Rhine flows through Cologne."), Document(text="The Elbe flows through Dresden.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=EncoderEmbedding(count_words))
    found = index.as_retriever(similarity_top_k=1).retrieve("Dresden?")
    assert [node.text for node in found] == ["The Elbe flows through Dresden."]


async def test_asynchronous_queries_give_the_same_vector():
    embedding = EncoderEmbedding(count_words)
    assert await embedding.aget_query_embedding("Elbe") == embedding.get_query_embedding("Elbe")

"""A text encoder of the engine as a LangChain embedding model."""

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_blender.rag import EncoderEmbeddings

WORDS = ["rhine", "elbe", "cologne", "dresden"]


def count_words(texts):
    assert texts, "an encoder is never asked about nothing"
    return [[float(text.lower().count(word)) + 0.01 for word in WORDS] for text in texts]


def test_a_store_finds_with_it():
    documents = [Document("The Rhine flows through Cologne."), Document("The Elbe flows through Dresden.")]
    store = InMemoryVectorStore.from_documents(documents, EncoderEmbeddings(count_words))
    assert [found.page_content for found in store.similarity_search("Dresden?", k=1)] == [documents[1].page_content]


async def test_asynchronous_calls_give_the_same_vectors():
    embeddings = EncoderEmbeddings(count_words)
    assert await embeddings.aembed_query("Elbe") == embeddings.embed_query("Elbe")
    assert await embeddings.aembed_documents(["Elbe", "Rhine"]) == embeddings.embed_documents(["Elbe", "Rhine"])


def test_no_texts_no_vectors():
    assert EncoderEmbeddings(count_words).embed_documents([]) == []


def test_the_encoder_in_the_package_tells_meanings_apart():
    texts = ["The river floods in spring.", "The bank lends money."]
    store = InMemoryVectorStore.from_texts(texts, EncoderEmbeddings())
    assert store.similarity_search("Where do I get a loan?", k=1)[0].page_content == "The bank lends money."

"""Documents in the order of a ranker, alone and inside LangChain's compressing retriever."""

from __future__ import annotations

import copy

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ValidationError

from blender_core.testing import FakeRanker
from langchain_blender.rag import PairRankerCompressor

TEXTS = ["one", "one two three", "one two"]
BEST_FIRST = ["one two three", "one two", "one"]


class Fixed(BaseRetriever):
    documents: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return self.documents


def documents() -> list[Document]:
    return [Document(text, id=text, metadata={"place": place}) for place, text in enumerate(TEXTS)]


def texts(found) -> list[str]:
    return [document.page_content for document in found]


@pytest.mark.parametrize("ranker", ["longest", FakeRanker()])
async def test_documents_come_best_first_with_scores(ranker):
    compressor = PairRankerCompressor(ranker=ranker)
    found = compressor.compress_documents(documents(), "?")
    assert texts(found) == BEST_FIRST
    scores = [document.metadata["relevance_score"] for document in found]
    assert scores == sorted(scores, reverse=True)
    assert [document.metadata["place"] for document in found] == [1, 2, 0]
    assert await compressor.acompress_documents(documents(), "?") == found


def test_given_documents_stay_as_they_are():
    given = documents()
    before = copy.deepcopy(given)
    found = PairRankerCompressor(ranker="longest").compress_documents(given, "?")
    found[0].metadata["mine"] = True
    assert given == before


@pytest.mark.parametrize("top_n", [1, 2, 3, 9])
def test_top_n_keeps_the_best(top_n):
    found = PairRankerCompressor(ranker="longest", top_n=top_n).compress_documents(documents(), "?")
    assert texts(found) == BEST_FIRST[:top_n]


@pytest.mark.parametrize("count", [0, 1])
def test_few_documents_need_no_ranking(count):
    found = PairRankerCompressor(ranker="longest").compress_documents(documents()[:count], "?")
    assert texts(found) == TEXTS[:count]


async def test_inside_a_compressing_retriever():
    given = documents()
    retriever = ContextualCompressionRetriever(
        base_compressor=PairRankerCompressor(ranker="longest", top_n=2), base_retriever=Fixed(documents=given)
    )
    assert texts(retriever.invoke("?")) == BEST_FIRST[:2]
    assert texts(await retriever.ainvoke("?")) == BEST_FIRST[:2]
    assert given == documents()


def test_the_embedded_ranker_finds_the_passage():
    given = [Document("Bananas are yellow."), Document("The server listens on port 8080.")]
    found = PairRankerCompressor().compress_documents(given, "Which port does the server listen on?")
    assert sorted(texts(found)) == sorted(texts(given))
    assert all(isinstance(document.metadata["relevance_score"], float) for document in found)


@pytest.mark.parametrize("setting", [{"budget": 1}, {"top_n": 0}, {"ranker": "nonsense"}, {"unknown": 1}])
def test_settings_that_cannot_work_are_refused(setting):
    with pytest.raises(ValidationError):
        PairRankerCompressor(**setting)

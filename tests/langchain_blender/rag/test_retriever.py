"""Several retrievers as one, with LangChain's own suite for retrievers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from blender_core.errors import ConfigurationError, QuorumError
from langchain_blender.rag import BlendedRAG, BlendedRetriever, retrieval_chain
from langchain_blender.testing import FakeChatModel

LEFT = [Document("a", id="a"), Document("four", id="four", metadata={"page": 1})]
RIGHT = [Document("four", id="four"), Document("bb", id="bb"), Document("ccc", id="ccc")]


class Fixed(BaseRetriever):
    documents: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return self.documents


def failing(query):
    raise ConnectionError("index is down")


def blended(**settings: Any) -> BlendedRetriever:
    usual = {"retrievers": {"left": Fixed(documents=LEFT), "right": Fixed(documents=RIGHT)}, "ranker": "longest"}
    return BlendedRetriever(**{**usual, **settings})


async def ask(retriever: BlendedRetriever, world: str, **options: Any) -> list[Document]:
    return retriever.invoke("?", **options) if world == "sync" else await retriever.ainvoke("?", **options)


both_worlds = pytest.mark.parametrize("world", ["sync", "async"])


class TestOfficialSuite(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return BlendedRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"retrievers": [Fixed(documents=LEFT), Fixed(documents=RIGHT)], "ranker": "consensus"}

    @property
    def retriever_query_example(self) -> str:
        return "Which one?"


@both_worlds
async def test_the_union_is_ordered_and_says_who_found_what(world):
    found = await ask(blended(), world)
    assert [document.page_content for document in found] == ["four", "ccc", "bb", "a"]
    by = {document.id: document.metadata["blend"]["retrieved_by"] for document in found}
    assert by == {"four": ["left", "right"], "ccc": ["right"], "bb": ["right"], "a": ["left"]}
    assert found[0].metadata["page"] == 1


@both_worlds
async def test_k_of_a_call_goes_before_that_of_the_retriever(world):
    assert len(await ask(blended(k=1), world)) == 1
    assert len(await ask(blended(k=1), world, k=3)) == 3
    assert len(await ask(blended(k=None), world)) == 4


@both_worlds
async def test_documents_of_the_retrievers_stay_as_they_are(world):
    before = copy.deepcopy((LEFT, RIGHT))
    for document in await ask(blended(), world):
        document.metadata["mine"] = True
    assert before == (LEFT, RIGHT)


@both_worlds
async def test_a_failing_retriever_costs_only_its_documents(world):
    found = await ask(blended(retrievers={"broken": RunnableLambda(failing), "left": Fixed(documents=LEFT)}), world)
    assert [document.id for document in found] == ["four", "a"]
    assert "index is down" in found[0].metadata["blend"]["failed"]["broken"]


@both_worlds
async def test_fewer_than_the_quorum_is_an_error(world):
    retrievers = [RunnableLambda(failing), Fixed(documents=LEFT)]
    with pytest.raises(QuorumError, match="index is down"):
        await ask(blended(retrievers=retrievers, quorum=2), world)


@both_worlds
async def test_what_is_no_list_of_documents_is_a_failure(world):
    with pytest.raises(QuorumError, match="not a list of Documents"):
        await ask(blended(retrievers=[RunnableLambda(lambda query: "text")]), world)


@both_worlds
async def test_nothing_found_is_no_error(world):
    assert await ask(blended(retrievers=[Fixed(documents=[])]), world) == []


@pytest.mark.parametrize(
    "setting", [{"retrievers": []}, {"retrievers": ["x"]}, {"k": 0}, {"budget": 1}, {"quorum": 3}, {"ranker": "no"}]
)
def test_settings_that_cannot_work_are_refused(setting):
    with pytest.raises((ValidationError, ConfigurationError)):
        blended(**setting)


def test_a_blend_of_retrievers_feeds_a_blend_of_chains():
    chain = retrieval_chain(blended(), FakeChatModel(script=["four [1]."]))
    output = BlendedRAG({"one": chain}, fuser=None, ranker="consensus").invoke("Which?")
    assert output["answer"] == "four [1]."
    assert output["context"][0].metadata["blend"]["cited_by"] == ["one"]

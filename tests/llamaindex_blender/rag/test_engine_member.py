"""One query engine as a member: where it runs, and what counts as its answer."""

import asyncio
import threading

import pytest
from llama_index.core import Document, MockEmbedding, StorageContext, SummaryIndex, VectorStoreIndex
from llama_index.core.base.response.schema import PydanticResponse, Response
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine, TransformQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from pydantic import BaseModel

from blender_core.errors import QuorumError
from blender_core.types.prompt import Prompt
from llamaindex_blender.rag import BlendedQueryEngine, QueryEngineMember
from llamaindex_blender.testing import ScriptedLLM

FOUND = NodeWithScore(node=TextNode(text="The server listens on port 8080.", id_="manual"), score=0.9)


class Port(BaseModel):
    port: int


class Retriever(BaseRetriever):
    """Finds one node, once it may; remembers in which threads it was asked."""

    def __init__(self, *, free: bool = True):
        super().__init__()
        self.free = threading.Event()
        if free:
            self.free.set()
        self.threads = []

    def _retrieve(self, query_bundle):
        self.threads.append(threading.get_ident())
        self.free.wait(20)
        return [FOUND]


class AsyncRetriever(Retriever):
    async def _aretrieve(self, query_bundle):
        self.threads.append(threading.get_ident())
        await asyncio.sleep(0)
        return [FOUND]


class InNameOnlyRetriever(Retriever):
    async def _aretrieve(self, query_bundle):
        return self._retrieve(query_bundle)


class ThroughTheBaseRetriever(Retriever):
    async def _aretrieve(self, query_bundle):
        return await super()._aretrieve(query_bundle)


class AroundAnotherRetriever(AsyncRetriever):
    def __init__(self, inner):
        super().__init__()
        self._inner = [inner]


class AsyncEmbedding(MockEmbedding):
    async def _aget_query_embedding(self, query):
        await asyncio.sleep(0)
        return self._get_query_embedding(query)


class AsyncStore(SimpleVectorStore):
    async def aquery(self, query, **kwargs):
        await asyncio.sleep(0)
        return self.query(query, **kwargs)


class InNameOnlyPostprocessor(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes, query_bundle=None):
        return nodes

    async def _apostprocess_nodes(self, nodes, query_bundle=None):
        return self._postprocess_nodes(nodes)


class Says(CustomQueryEngine):
    """Returns what it was given."""

    response: object

    def custom_query(self, query_str: str) -> object:
        return self.response


def over(retriever, llm=None, postprocessors=()):
    llm = llm or ScriptedLLM(script=["Port 8080."])
    return RetrieverQueryEngine.from_args(retriever, llm=llm, node_postprocessors=list(postprocessors))


def vectors(embedding, store):
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex([FOUND.node], storage_context=context, embed_model=embedding).as_retriever()


def async_vectors():
    return vectors(AsyncEmbedding(embed_dim=4), AsyncStore())


async def test_an_engine_that_would_hold_up_the_event_loop_runs_in_a_thread_and_heeds_its_timeout():
    quick, stuck = Retriever(), Retriever(free=False)
    engine = BlendedQueryEngine({"quick": over(quick), "stuck": over(stuck)}, fuser=None, timeout=2)
    try:
        response = await engine.aquery("Which port?")
    finally:
        stuck.free.set()
    status = {one["model"]: one["status"] for one in response.metadata["blend"]["candidates"]}
    assert status == {"quick": "ok", "stuck": "timeout"}
    assert threading.get_ident() not in {*quick.threads, *stuck.threads}


async def test_an_asynchronous_engine_runs_on_the_event_loop():
    retriever = AsyncRetriever()
    await BlendedQueryEngine([over(retriever)], fuser=None).aquery("Which port?")
    assert retriever.threads == [threading.get_ident()]


@pytest.mark.parametrize(
    "make",
    [
        lambda: over(AsyncRetriever()),
        lambda: over(AsyncRetriever(), postprocessors=[SimilarityPostprocessor()]),
        lambda: over(async_vectors()),
        lambda: BlendedQueryEngine([over(Retriever())], fuser=None),
    ],
    ids=["retriever", "postprocessor in a thread", "vectors", "a blend"],
)
async def test_asynchronous_in_all_its_parts(make):
    member = QueryEngineMember(make())
    assert member.has_native_async
    assert (await member.aanswer(Prompt.of("Which port?"))).answer == "Port 8080."


@pytest.mark.parametrize(
    "make",
    [
        lambda: over(Retriever()),
        lambda: over(InNameOnlyRetriever()),
        lambda: over(ThroughTheBaseRetriever()),
        lambda: over(AroundAnotherRetriever(Retriever())),
        lambda: over(SummaryIndex.from_documents([Document(text="Port 8080.")]).as_retriever()),
        lambda: over(vectors(MockEmbedding(embed_dim=4), AsyncStore())),
        lambda: over(vectors(AsyncEmbedding(embed_dim=4), SimpleVectorStore())),
        lambda: over(AsyncRetriever(), postprocessors=[InNameOnlyPostprocessor()]),
        lambda: over(AsyncRetriever(), llm=MockLLM()),
        lambda: TransformQueryEngine(over(AsyncRetriever()), HyDEQueryTransform(llm=ScriptedLLM())),
        lambda: Says(response="Port 8080."),
    ],
    ids=[
        "retriever",
        "retriever in name only",
        "retriever through its base class",
        "retriever inside",
        "summary index",
        "embedding",
        "vector store",
        "postprocessor",
        "llm",
        "engine around one",
        "engine of one's own",
    ],
)
def test_in_doubt_it_runs_in_a_thread(make):
    assert not QueryEngineMember(make()).has_native_async


@pytest.mark.parametrize("way", ["query", "aquery"])
@pytest.mark.parametrize("response", [Response(None), Response(""), PydanticResponse(None)], ids=repr)
async def test_an_engine_that_says_nothing_gave_an_empty_answer(response, way):
    engine = BlendedQueryEngine({"silent": Says(response=response), "right": Says(response="Port 8080.")}, fuser=None)
    given = engine.query("Which port?") if way == "query" else await engine.aquery("Which port?")
    assert str(given) == "Port 8080."
    assert [one["status"] for one in given.metadata["blend"]["candidates"]] == ["error", "ok"]
    with pytest.raises(QuorumError, match="an empty answer"):
        BlendedQueryEngine([Says(response=response)], fuser=None).query("Which port?")


@pytest.mark.parametrize("retriever", [Retriever, AsyncRetriever])
async def test_a_stream_of_nothing_is_an_empty_answer(retriever):
    silent = RetrieverQueryEngine.from_args(retriever(), llm=ScriptedLLM(script=[""]), streaming=True)
    engine = BlendedQueryEngine([silent], fuser=None)
    with pytest.raises(QuorumError, match="an empty answer"):
        engine.query("Which port?")
    with pytest.raises(QuorumError, match="an empty answer"):
        await engine.aquery("Which port?")


def test_the_text_of_an_object_is_its_json():
    member = QueryEngineMember(Says(response=PydanticResponse(Port(port=8080), source_nodes=[FOUND])))
    answer = member.generate(Prompt.of("Which port?"))
    assert answer.text == '{"port":8080}'
    assert answer.native.sources[0].id == "manual"

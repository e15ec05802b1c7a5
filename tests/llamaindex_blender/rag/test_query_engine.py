"""Several query engines as one, through LlamaIndex's own classes."""

import asyncio
import time

import pytest
from llama_index.core import Document, QueryBundle, SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.base.response.schema import PydanticResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.query_engine import CustomQueryEngine, RouterQueryEngine, TransformQueryEngine
from llama_index.core.response import Response
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from blender_core.errors import ConfigurationError, QuorumError
from blender_core.rag import GroundedCandidate, Source, SourcedMember
from blender_core.testing import FakeMember
from llamaindex_blender.rag import BlendedQueryEngine, BlendedSynthesizer, QueryEngineMember
from llamaindex_blender.testing import ScriptedLLM

MANUAL = TextNode(text="The server listens on port 8080.", id_="manual", metadata={"page": 3})
HISTORY = TextNode(text="The server was written in 2019.", id_="history")


class Engine(CustomQueryEngine):
    """Says one thing, with the nodes it was given."""

    says: str
    nodes: tuple[TextNode, ...] = (MANUAL,)
    seconds: float = 0.0
    fails: bool = False

    def custom_query(self, query_str: str) -> Response:
        time.sleep(self.seconds)
        if self.fails:
            raise ValueError("the index is gone")
        return Response(self.says, source_nodes=[NodeWithScore(node=node, score=0.5) for node in self.nodes])


RIGHT = Engine(says="It listens on port 8080 [1].")
WRONG = Engine(says="It certainly listens on port 9999, as everybody knows [1].")


def test_an_unsupported_answer_loses_to_a_supported_one():
    engine = BlendedQueryEngine({"wrong": WRONG, "right": RIGHT}, ranker="longest", fuser=None)
    response = engine.query("Which port does it listen on?")
    assert str(response) == "It listens on port 8080 [1]."
    assert response.metadata["blend"]["winner"] == "right"
    assert response.metadata["blend"]["unsupported"] == ["wrong"]


def test_source_nodes_are_copies_that_say_who_used_them():
    engine = BlendedQueryEngine({"wrong": WRONG, "right": RIGHT}, ranker="longest", fuser=None)
    (found,) = engine.query("Which port?").source_nodes
    assert (found.node.node_id, found.score, found.node.metadata["page"]) == ("manual", 0.5, 3)
    assert found.node.metadata["blend"] == {"number": 1, "used_by": ["right"], "cited_by": ["right"]}
    assert "blend" not in found.node.get_content(metadata_mode="llm")
    assert MANUAL.metadata == {"page": 3}


def test_fused_answers_cite_the_union_of_their_sources():
    second = Engine(says="It was written in 2019 [1].", nodes=(HISTORY, MANUAL))
    writer = ScriptedLLM(script=["Written in 2019 [2], it listens on port 8080 [1], or so [7]."])
    engine = BlendedQueryEngine(
        {"port": RIGHT, "year": second}, ranker="longest", fuser=writer, fuse_when="always", top_k=2
    )
    response = engine.query("Which port, and how old?")
    assert str(response) == "Written in 2019 [2], it listens on port 8080 [1], or so."
    assert [node.node.node_id for node in response.source_nodes] == ["manual", "history"]
    used = [node.node.metadata["blend"]["used_by"] for node in response.source_nodes]
    assert used == [["port", "year"], ["year"]]
    assert response.metadata["blend"]["dropped_citations"]


def test_an_engine_that_fails_or_hangs_costs_its_answer():
    broken, slow = Engine(says="", fails=True), Engine(says="Port 8080.", seconds=5)
    engine = BlendedQueryEngine({"broken": broken, "slow": slow, "right": RIGHT}, fuser=None, timeout=0.5)
    response = engine.query("Which port?")
    status = {one["model"]: one["status"] for one in response.metadata["blend"]["candidates"]}
    assert status == {"broken": "error", "slow": "timeout", "right": "ok"}
    with pytest.raises(QuorumError, match="the index is gone"):
        BlendedQueryEngine([broken, RIGHT], fuser=None, quorum=2).query("Which port?")


async def test_async_runs_the_engines_side_by_side():
    engines = [Engine(says="Port 8080.", seconds=0.4), Engine(says="Port 8080 [1].", seconds=0.4)]
    engine = BlendedQueryEngine(engines, ranker="longest", fuser=None)
    began = asyncio.get_running_loop().time()
    responses = await asyncio.gather(*(engine.aquery("Which port?") for _ in range(3)))
    assert {str(response) for response in responses} == {"Port 8080 [1]."}
    # six calls of 0.4 s one after the other would take 2.4 s
    assert asyncio.get_running_loop().time() - began < 2.3


def test_streaming_fills_nodes_and_report_at_the_end():
    engine = BlendedQueryEngine({"a": RIGHT}, fuser=None, streaming=True)
    response = engine.query("Which port?")
    pieces = list(response.response_gen)
    assert "".join(pieces) == RIGHT.says
    assert len(pieces) > 1
    assert response.source_nodes[0].node.node_id == "manual"
    assert response.metadata["blend"]["winner"] == "a"
    assert response.metadata["blend"]["rejected_characters"] == 0


async def test_async_streaming():
    engine = BlendedQueryEngine({"a": RIGHT}, fuser=None, streaming=True)
    response = await engine.aquery("Which port?")
    assert "".join([piece async for piece in response.async_response_gen()]) == RIGHT.says
    assert response.metadata["blend"]["winner"] == "a"


def test_streaming_engines_are_read_to_their_end():
    index = SummaryIndex.from_documents([Document(text=MANUAL.text)])
    streaming = index.as_query_engine(llm=ScriptedLLM(script=["Port 8080."]), streaming=True)
    assert str(BlendedQueryEngine([streaming], fuser=None).query("Which port?")) == "Port 8080."


class Louder(BaseQueryTransform):
    def _get_prompts(self):
        return {}

    def _update_prompts(self, prompts):
        pass

    def _run(self, query_bundle, metadata):
        return QueryBundle(query_bundle.query_str.upper())


class Echo(CustomQueryEngine):
    def custom_query(self, query_str: str) -> str:
        return f"You asked: {query_str}"


def test_inside_a_transform_query_engine():
    engine = TransformQueryEngine(BlendedQueryEngine([Echo(), Echo()], fuser=None), Louder())
    assert str(engine.query("which port?")) == "You asked: WHICH PORT?"


def test_as_one_of_a_routers_tools():
    tools = [
        QueryEngineTool.from_defaults(BlendedQueryEngine([RIGHT], fuser=None), name="ports", description="About ports"),
        QueryEngineTool.from_defaults(Echo(), name="echo", description="Repeats"),
    ]
    selector = LLMSingleSelector.from_defaults(llm=ScriptedLLM(script=['[{"choice": 1, "reason": "ports"}]']))
    router = RouterQueryEngine(selector=selector, query_engine_tools=tools, llm=ScriptedLLM(script=["unused"]))
    assert str(router.query("Which port?")) == RIGHT.says


# core looks at every attribute of an agent, pydantic's old ones too
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning")
async def test_as_an_agents_tool():
    tool = QueryEngineTool.from_defaults(BlendedQueryEngine([RIGHT], fuser=None), name="manual", description="Ports")
    call = ToolCallBlock(tool_name="manual", tool_kwargs={"input": "Which port?"}, tool_call_id="1")
    llm = ScriptedLLM(script=[ChatMessage(role=MessageRole.ASSISTANT, blocks=[call]), "It is port 8080."])
    output = await FunctionAgent(tools=[tool], llm=llm).run("Which port is it?")
    assert str(output.response.content) == "It is port 8080."
    assert str(output.tool_calls[0].tool_output.content) == RIGHT.says


def test_the_llm_behind_the_winning_engine_fuses():
    index = SummaryIndex.from_documents([Document(text=MANUAL.text, id_="manual")])
    first = ScriptedLLM(script=["It listens on port 8080.", "Port 8080, says the manual."])
    second = ScriptedLLM(script=["Port 8080."])
    engine = BlendedQueryEngine(
        {"long": index.as_query_engine(llm=first), "short": index.as_query_engine(llm=second)},
        ranker="longest",
        fuse_when="always",
    )
    response = engine.query("Which port?")
    assert str(response) == "Port 8080, says the manual."
    assert response.metadata["blend"]["fused"] == ["long", "short"]


def test_no_llm_to_fuse_is_said_when_the_engine_is_made():
    with pytest.raises(ConfigurationError, match="no LLM that could fuse"):
        BlendedQueryEngine([RIGHT, WRONG])
    with pytest.raises(ConfigurationError, match="str is not a query engine"):
        QueryEngineMember("engine")


def test_members_of_other_kinds_stand_among_engines():
    other = SourcedMember(
        "plain", lambda prompt: GroundedCandidate(f"Port 8080, {prompt.text}", (Source(MANUAL.text, id="manual"),))
    )
    engine = BlendedQueryEngine({"other": other, "fake": FakeMember("x", "No idea.")}, ranker="longest", fuser=None)
    response = engine.query("which port?")
    assert str(response) == "Port 8080, which port?"
    assert response.source_nodes[0].node.node_id == "manual"


def test_callbacks_and_spans_nest():
    debug = LlamaDebugHandler(print_trace_on_end=False)
    handler = SimpleSpanHandler()
    get_dispatcher().add_span_handler(handler)
    try:
        BlendedQueryEngine([RIGHT], fuser=None, callback_manager=CallbackManager([debug])).query("Which port?")
    finally:
        get_dispatcher().span_handlers.remove(handler)
    assert len(debug.get_event_pairs(CBEventType.QUERY)) == 1
    spans = {span.id_: span for span in handler.completed_spans}
    inner = next(span for span in spans.values() if span.id_.startswith("Engine.query"))
    assert spans[inner.parent_id].id_.startswith("BlendedQueryEngine._query")


def test_prompts_of_the_engines_can_be_read_and_changed():
    index = SummaryIndex.from_documents([Document(text=MANUAL.text)])
    engine = BlendedQueryEngine([index.as_query_engine(llm=ScriptedLLM(script=["x"]))], fuser=None)
    assert any(name.startswith("engine_0:") for name in engine.get_prompts())


class Port(BaseModel):
    port: int


@pytest.mark.parametrize("way", ["query", "aquery"])
async def test_a_picked_object_stays_an_object(way):
    index = SummaryIndex.from_documents([Document(text=MANUAL.text, id_="manual")])
    llms = [ScriptedLLM(script=['{"port": 8080}'], tools=False) for _ in range(2)]
    engine = BlendedQueryEngine([index.as_query_engine(llm=llm, output_cls=Port) for llm in llms])
    response = engine.query("Which port?") if way == "query" else await engine.aquery("Which port?")
    assert isinstance(response, PydanticResponse)
    assert response.response == Port(port=8080)
    assert str(response) == response.metadata["blend"]["text"] == '{"port":8080}'
    assert response.source_nodes[0].node.metadata["blend"]["number"] == 1


class Telling(CustomQueryEngine):
    """Says something of its own about its answer."""

    says: str

    def custom_query(self, query_str: str) -> Response:
        return Response(self.says, source_nodes=[NodeWithScore(node=MANUAL)], metadata={"rows": self.says, "blend": 0})


def test_what_the_winner_says_about_its_answer_is_kept():
    engines = {"wrong": Telling(says="It is port 9999."), "right": Telling(says="It is port 8080.")}
    picked = BlendedQueryEngine(engines, fuser=None).query("Which port is it?")
    assert picked.metadata["rows"] == "It is port 8080."
    assert picked.metadata["blend"]["winner"] == "right"
    assert "rows" not in picked.metadata["blend"]


def test_what_the_winner_says_about_its_answer_is_kept_in_a_stream():
    response = BlendedQueryEngine([Telling(says="It is port 8080.")], fuser=None, streaming=True).query("Which port?")
    assert "".join(response.response_gen) == "It is port 8080."
    assert response.metadata["rows"] == "It is port 8080."
    assert response.metadata["blend"]["winner"] == "Telling"


def test_a_fused_answer_takes_no_words_of_one_engine_about_it():
    engines = {"a": Telling(says="It is port 8080."), "b": Telling(says="The server has port 8080.")}
    writer = ScriptedLLM(script=["The server listens on port 8080."])
    response = BlendedQueryEngine(engines, fuser=writer, fuse_when="always").query("Which port is it?")
    assert response.metadata["blend"]["fused"]
    assert list(response.metadata) == ["blend"]


@pytest.mark.parametrize("blended", ["engines", "llms"])
def test_the_default_fuser_streams(blended):
    index = SummaryIndex.from_documents([Document(text=MANUAL.text)])
    fused = (
        "The server listens on port 8080, which is the port it listens on wherever that may be, and no other port is "
        "the one that it listens on in the end, whatever else there may be."
    )
    llms = [ScriptedLLM(script=[text, fused]) for text in ("It listens on port 8080.", "Port 8080 it listens on.")]
    if blended == "engines":
        engines = [index.as_query_engine(llm=llm) for llm in llms]
        engine = BlendedQueryEngine(engines, fuse_when="always", streaming=True)
    else:
        synthesizer = BlendedSynthesizer(llms, fuse_when="always", streaming=True)
        engine = index.as_query_engine(llm=llms[0], response_synthesizer=synthesizer)
    pieces = list(engine.query("Which port?").response_gen)
    assert "".join(pieces) == fused
    assert len(pieces) > 5
    assert any(call.streamed for llm in llms for call in llm.calls)

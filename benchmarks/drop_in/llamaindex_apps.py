"""Small LlamaIndex apps: each takes an LLM and asserts what its result must hold."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Awaitable, Callable
from typing import Any, cast

from llama_index.core import (
    Document,
    KeywordTableIndex,
    KnowledgeGraphIndex,
    MockEmbedding,
    Settings,
    SummaryIndex,
    TreeIndex,
)
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.evaluation import (
    AnswerRelevancyEvaluator,
    ContextRelevancyEvaluator,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    GuidelineEvaluator,
    PairwiseComparisonEvaluator,
    RelevancyEvaluator,
)
from llama_index.core.extractors import KeywordExtractor, QuestionsAnsweredExtractor, SummaryExtractor, TitleExtractor
from llama_index.core.indices.query.query_transform.base import HyDEQueryTransform
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.memory import ChatMemoryBuffer, ChatSummaryMemoryBuffer, FactExtractionMemoryBlock, Memory
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RouterQueryEngine, TransformQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.selectors import LLMSingleSelector, PydanticSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from blender_core.testing import ScriptedServer
from llamaindex_blender import BlendedLLM

__all__ = ["APPS", "PACKAGES", "models"]

PACKAGES = (
    "llama-index-core",
    "llama-index-workflows",
    "llama-index-instrumentation",
    "llama-index-llms-openai",
    "llama-index-llms-openai-like",
)

QUESTION = "How hot does the kettle get?"
TEXT = "The kettle heats the water up to 95 degrees Celsius. It holds one litre. "
App = Callable[[Any], object]


class Kettle(BaseModel):
    """A kettle."""

    name: str
    degrees: int


def models(server: ScriptedServer) -> dict[str, LLM]:
    """A plain LLM, and a blend of three."""

    def like(model: str) -> OpenAILike:
        return OpenAILike(
            model=model,
            api_base=server.base_url,
            api_key="key",
            is_chat_model=True,
            is_function_calling_model=True,
            context_window=8192,
            max_retries=0,
        )

    blend = BlendedLLM(llms=[like("a"), like("bee"), like("seaside")], ranker="longest", fuse_when="always")
    return {"plain": like("a"), "blend": blend}


def _heat(degrees: int = 95) -> str:
    """Heat the kettle."""
    return f"heated to {degrees}"


def _index() -> SummaryIndex:
    return SummaryIndex.from_documents([Document(text=TEXT * 3), Document(text="Tea is brewed for three minutes.")])


def _says(answer: object) -> None:
    assert "95" in str(answer), answer


def _parallel(app: Callable[[Any], Awaitable[object]]) -> App:
    return lambda llm: asyncio.run(cast(Any, app(llm)))


# -- query engines --------------------------------------------------------------------------------------------

_MODES = ("compact", "refine", "simple_summarize", "tree_summarize", "accumulate", "compact_accumulate", "generation")


def _mode(mode: str) -> App:
    return lambda llm: _says(_index().as_query_engine(llm=llm, response_mode=mode).query(QUESTION))


def _streamed_mode(mode: str) -> App:
    def app(llm: LLM) -> None:
        answer = _index().as_query_engine(llm=llm, response_mode=mode, streaming=True).query(QUESTION)
        _says("".join(cast(Any, answer).response_gen))

    return app


def _awaited_mode(mode: str) -> App:
    async def app(llm: LLM) -> None:
        _says(await _index().as_query_engine(llm=llm, response_mode=mode).aquery(QUESTION))

    return _parallel(app)


def _structured_answer(llm: LLM) -> None:
    engine = _index().as_query_engine(llm=llm, output_cls=Kettle, response_mode="compact")
    assert isinstance(cast(Any, engine.query(QUESTION)).response, Kettle)


# -- chat engines ---------------------------------------------------------------------------------------------

_CHATS = ("simple", "context", "condense_question", "condense_plus_context")


def _chat(mode: str) -> App:
    def app(llm: LLM) -> None:
        engine = _index().as_chat_engine(chat_mode=mode, llm=llm)
        _says(engine.chat(QUESTION))
        _says(engine.chat("Are you sure?"))
        assert len(engine.chat_history) == 4

    return app


def _streamed_chat(mode: str) -> App:
    def app(llm: LLM) -> None:
        _says("".join(_index().as_chat_engine(chat_mode=mode, llm=llm).stream_chat(QUESTION).response_gen))

    return app


def _awaited_chat(mode: str) -> App:
    async def app(llm: LLM) -> None:
        answer = await _index().as_chat_engine(chat_mode=mode, llm=llm).astream_chat(QUESTION)
        _says("".join([piece async for piece in answer.async_response_gen()]))

    return _parallel(app)


# -- agents and workflows -------------------------------------------------------------------------------------


async def _function_agent(llm: LLM) -> None:
    _says(await FunctionAgent(llm=llm, tools=[_heat]).run(QUESTION))


async def _react_agent(llm: LLM) -> None:
    _says(await ReActAgent(llm=llm, tools=[_heat]).run(QUESTION))


async def _code_agent(llm: LLM) -> None:
    _says(await CodeActAgent(llm=llm, tools=[_heat], code_execute_fn=lambda code: code).run(QUESTION))


async def _agent_stream(llm: LLM) -> None:
    run = FunctionAgent(llm=llm, tools=[_heat]).run(QUESTION)
    _says("".join([event.delta async for event in run.stream_events() if isinstance(event, AgentStream)]))
    await run


async def _agent_memory(llm: LLM) -> None:
    agent, memory = FunctionAgent(llm=llm, tools=[_heat]), Memory.from_defaults(session_id="one")
    _says(await agent.run(QUESTION, memory=memory))
    _says(await agent.run("Are you sure?", memory=memory))
    assert len(await memory.aget_all()) >= 6


async def _agent_context(llm: LLM) -> None:
    agent = FunctionAgent(llm=llm, tools=[_heat])
    context = Context(agent)
    await agent.run(QUESTION, ctx=context)
    again = Context.from_dict(agent, json.loads(json.dumps(context.to_dict())))
    _says(await agent.run("Are you sure?", ctx=again))


async def _structured_agent(llm: LLM) -> None:
    output = await FunctionAgent(llm=llm, tools=[_heat], output_cls=Kettle).run(QUESTION)
    assert isinstance(output.get_pydantic_model(Kettle), Kettle)


async def _team(llm: LLM) -> None:
    boiler = FunctionAgent(name="boiler", description="Boils.", llm=llm, tools=[_heat])
    _says(await AgentWorkflow(agents=[boiler], root_agent="boiler").run(QUESTION))


async def _from_functions(llm: LLM) -> None:
    _says(await AgentWorkflow.from_tools_or_functions([_heat], llm=llm).run(QUESTION))


class _Piece(Event):
    delta: str


class _Flow(Workflow):
    """A workflow with one step, which streams."""

    def __init__(self, llm: LLM) -> None:
        super().__init__(timeout=60)
        self.llm = llm

    @step
    async def answer(self, ctx: Context, event: StartEvent) -> StopEvent:
        text = ""
        async for piece in await self.llm.astream_complete(event.question):
            ctx.write_event_to_stream(_Piece(delta=piece.delta or ""))
            text = piece.text
        return StopEvent(result=text)


async def _workflow(llm: LLM) -> None:
    run = _Flow(llm).run(question=QUESTION)
    told = "".join([event.delta async for event in run.stream_events() if isinstance(event, _Piece)])
    assert told == await run
    _says(told)


# -- memory ---------------------------------------------------------------------------------------------------


def _chat_with(memory: Callable[[LLM], Any]) -> App:
    def app(llm: LLM) -> None:
        engine = _index().as_chat_engine(chat_mode="context", llm=llm, memory=memory(llm))
        for _ in range(4):
            _says(engine.chat(QUESTION))

    return app


def _stored(llm: LLM) -> None:
    """Not with ``SimpleChatStore.persist``: it fails with pydantic 2.14, whatever the messages are."""
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    _says(_index().as_chat_engine(chat_mode="simple", llm=llm, memory=memory).chat(QUESTION))
    saved = [message.model_dump_json() for message in memory.get_all()]
    again = ChatMemoryBuffer.from_defaults([ChatMessage.model_validate_json(message) for message in saved], llm=llm)
    _says(_index().as_chat_engine(chat_mode="simple", llm=llm, memory=again).chat("Are you sure?"))


def _facts(llm: LLM) -> Memory:
    block = FactExtractionMemoryBlock(llm=llm)
    return Memory.from_defaults(session_id="one", token_limit=60, chat_history_token_ratio=0.5, memory_blocks=[block])


# -- evaluators -----------------------------------------------------------------------------------------------


def _evaluated(evaluator: Callable[[LLM], Any], **given: Any) -> App:
    def app(llm: LLM) -> None:
        asked = {"query": QUESTION, "response": "Up to 95 degrees.", "contexts": [TEXT], **given}
        result = evaluator(llm).evaluate(**asked)
        assert not result.invalid_result
        assert result.score is not None or result.passing is not None

    return app


def _pairwise(llm: LLM) -> None:
    result = PairwiseComparisonEvaluator(llm=llm, enforce_consensus=False).evaluate(
        query=QUESTION, response="Up to 95 degrees.", second_response="It gets hot."
    )
    assert result.score == 1.0


# -- structured output, retrieval, indices ----------------------------------------------------------------------


def _structured(llm: LLM) -> None:
    assert isinstance(llm.structured_predict(Kettle, PromptTemplate("{q}"), q=QUESTION), Kettle)


def _streamed_object(llm: LLM) -> None:
    *_, last = llm.stream_structured_predict(Kettle, PromptTemplate("{q}"), q=QUESTION)
    assert cast(Any, last).name == "kettle"


def _structured_llm(llm: LLM) -> None:
    assert isinstance(llm.as_structured_llm(Kettle).complete(QUESTION).raw, Kettle)


def _predict_and_call(llm: LLM) -> None:
    assert "heated" in str(llm.predict_and_call([FunctionTool.from_defaults(_heat)], QUESTION))


def _routed(selector: Any) -> App:
    def app(llm: LLM) -> None:
        tool = QueryEngineTool.from_defaults(_index().as_query_engine(llm=llm), description="about kettles")
        other = QueryEngineTool.from_defaults(_index().as_query_engine(llm=llm), description="about tea")
        engine = RouterQueryEngine(selector.from_defaults(llm=llm), [tool, other], llm=llm)
        _says(engine.query(QUESTION))

    return app


def _query_fusion(llm: LLM) -> None:
    retriever = QueryFusionRetriever([_index().as_retriever()], llm=llm, num_queries=3, use_async=False)
    assert len(retriever._get_queries(QUESTION)) == 2
    assert retriever.retrieve(QUESTION)


def _rerank(llm: LLM) -> None:
    assert LLMRerank(llm=llm, top_n=1).postprocess_nodes(_index().as_retriever().retrieve(QUESTION), query_str=QUESTION)


def _hyde(llm: LLM) -> None:
    _says(TransformQueryEngine(_index().as_query_engine(llm=llm), HyDEQueryTransform(llm=llm)).query(QUESTION))


def _with_index(make: Callable[[LLM], Any]) -> App:
    return lambda llm: _says(make(llm).as_query_engine(llm=llm).query(QUESTION))


def _extractor(cls: Any, **given: Any) -> App:
    def app(llm: LLM) -> None:
        nodes = list(_index().docstore.docs.values())
        assert all(asyncio.run(cls(llm=llm, show_progress=False, **given).aextract(nodes)))

    return app


# -- the LLM as an object -----------------------------------------------------------------------------------------


def _again(copied: Callable[[LLM], LLM]) -> App:
    return lambda llm: _says(copied(llm).complete(QUESTION))


def _payload(llm: LLM) -> None:
    assert json.dumps(llm.to_payload())


def _counted(llm: LLM) -> None:
    before, counter = Settings._callback_manager, TokenCountingHandler()
    Settings.callback_manager = CallbackManager([counter])
    try:
        llm = type(llm).from_dict(llm.to_dict())
        response = llm.chat([ChatMessage(role="user", content=QUESTION)])
    finally:
        Settings._callback_manager = before
    raw: Any = response.raw
    usage = raw["usage"] if isinstance(raw, dict) else raw.usage.model_dump()
    assert counter.total_llm_token_count == usage["total_tokens"]


_DOCUMENTS = [Document(text=TEXT), Document(text="Tea is brewed for three minutes.")]

APPS: dict[str, dict[str, App]] = {
    "response modes": {f"`{mode}`": _mode(mode) for mode in _MODES},
    "response modes, streamed": {f"`{mode}`": _streamed_mode(mode) for mode in _MODES if "accumulate" not in mode},
    "response modes, async": {f"`{mode}`": _awaited_mode(mode) for mode in _MODES},
    "query engine": {"`output_cls`": _structured_answer},
    "chat engines": {f"`{mode}`": _chat(mode) for mode in _CHATS},
    "chat engines, streamed": {f"`{mode}`": _streamed_chat(mode) for mode in _CHATS},
    "chat engines, async streamed": {f"`{mode}`": _awaited_chat(mode) for mode in _CHATS},
    "agents": {
        "`FunctionAgent`": _parallel(_function_agent),
        "`ReActAgent`": _parallel(_react_agent),
        "`CodeActAgent`": _parallel(_code_agent),
        "`AgentStream` events": _parallel(_agent_stream),
        "`output_cls`": _parallel(_structured_agent),
        "`Memory` over runs": _parallel(_agent_memory),
        "`Context` saved and loaded": _parallel(_agent_context),
    },
    "workflows": {
        "`AgentWorkflow`": _parallel(_team),
        "`from_tools_or_functions`": _parallel(_from_functions),
        "own `Workflow` that streams": _parallel(_workflow),
    },
    "memory": {
        "`ChatMemoryBuffer`": _chat_with(lambda llm: ChatMemoryBuffer.from_defaults(llm=llm, token_limit=2000)),
        "`ChatSummaryMemoryBuffer`": _chat_with(
            lambda llm: ChatSummaryMemoryBuffer.from_defaults(llm=llm, token_limit=60)
        ),
        "`FactExtractionMemoryBlock`": _chat_with(_facts),
        "messages saved as JSON": _stored,
    },
    "evaluators": {
        "faithfulness": _evaluated(lambda llm: FaithfulnessEvaluator(llm=llm)),
        "relevancy": _evaluated(lambda llm: RelevancyEvaluator(llm=llm)),
        "correctness": _evaluated(lambda llm: CorrectnessEvaluator(llm=llm), reference="95 degrees"),
        "guideline": _evaluated(lambda llm: GuidelineEvaluator(llm=llm, guidelines="Be brief.")),
        "answer relevancy": _evaluated(lambda llm: AnswerRelevancyEvaluator(llm=llm)),
        "context relevancy": _evaluated(lambda llm: ContextRelevancyEvaluator(llm=llm)),
        "pairwise": _pairwise,
    },
    "structured output": {
        "`structured_predict`": _structured,
        "`stream_structured_predict`": _streamed_object,
        "`as_structured_llm`": _structured_llm,
        "`predict_and_call`": _predict_and_call,
    },
    "retrieval": {
        "`LLMSingleSelector`": _routed(LLMSingleSelector),
        "`PydanticSingleSelector`": _routed(PydanticSingleSelector),
        "`QueryFusionRetriever`": _query_fusion,
        "`LLMRerank`": _rerank,
        "`HyDEQueryTransform`": _hyde,
    },
    "indices": {
        "`KeywordTableIndex`": _with_index(lambda llm: KeywordTableIndex.from_documents(_DOCUMENTS, llm=llm)),
        "`KnowledgeGraphIndex`": _with_index(
            lambda llm: KnowledgeGraphIndex.from_documents(
                _DOCUMENTS, llm=llm, max_triplets_per_chunk=2, embed_model=MockEmbedding(embed_dim=4)
            )
        ),
        "`TreeIndex`": _with_index(lambda llm: TreeIndex.from_documents(_DOCUMENTS[:1], llm=llm)),
    },
    "extractors": {
        "titles": _extractor(TitleExtractor),
        "keywords": _extractor(KeywordExtractor),
        "questions": _extractor(QuestionsAnsweredExtractor),
        "summaries": _extractor(SummaryExtractor),
    },
    "serialisation": {
        "`to_dict` and `from_dict`": _again(lambda llm: type(llm).from_dict(llm.to_dict())),
        "`to_json` and `from_json`": _again(lambda llm: type(llm).from_json(llm.to_json())),
        "`pickle`": _again(lambda llm: cast(LLM, pickle.loads(pickle.dumps(llm)))),
        "`deepcopy`": _again(copy.deepcopy),
        "`to_payload`": _payload,
    },
    "callbacks": {"`TokenCountingHandler` in `Settings`": _counted},
}

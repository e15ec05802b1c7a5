"""Small LangChain apps: each takes a chat model and asserts what its result must hold."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict, cast

from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
    dynamic_prompt,
    wrap_model_call,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_classic.chains import create_history_aware_retriever, create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.retrievers import ContextualCompressionRetriever, MultiQueryRetriever
from langchain_classic.retrievers.document_compressors import LLMChainExtractor
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler, get_usage_metadata_callback
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.documents import Document
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langchain_core.tracers.context import collect_runs
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import BaseModel

from blender_core.testing import ScriptedServer
from langchain_blender import BlendedLLM

__all__ = ["APPS", "PACKAGES", "models"]

PACKAGES = ("langchain", "langchain-core", "langchain-openai", "langchain-classic", "langgraph")

QUESTION = "How hot does the kettle get?"
ASKED: dict[str, Any] = {"messages": [("user", QUESTION)]}
THREAD: Any = {"configurable": {"thread_id": "one"}}
DOCUMENTS = [Document("The kettle heats the water up to 95 degrees Celsius."), Document("Tea is brewed for 3 minutes.")]
RETRIEVER: Any = RunnableLambda(lambda _query: DOCUMENTS)
App = Callable[[Any], object]


class Kettle(BaseModel):
    """A kettle."""

    name: str
    degrees: int


class KettleDict(TypedDict):
    """A kettle."""

    name: str
    degrees: int


KETTLE_SCHEMA = {"title": "Kettle", "description": "A kettle.", **Kettle.model_json_schema()}


@tool
def heat(degrees: int) -> str:
    """Heat the kettle."""
    return f"heated to {degrees}"


@tool
def kettle(degrees: int) -> str:
    """Say how hot the kettle is, also while it heats."""
    get_stream_writer()({"degrees": degrees})
    return f"it has {degrees} degrees"


def models(server: ScriptedServer) -> dict[str, Any]:
    """A plain chat model, and a blend of three."""

    def client(name: str) -> ChatOpenAI:
        return ChatOpenAI(model=name, base_url=server.base_url, api_key=cast(Any, "key"), max_retries=0)

    members = [client(name) for name in ("a", "bee", "seaside")]
    return {"plain": client("a"), "blend": BlendedLLM(llms=members, ranker="longest", fuse_when="always")}


def _says(answer: object) -> None:
    assert "95" in str(answer), answer


def _parallel(app: Callable[[Any], Awaitable[object]]) -> App:
    return lambda llm: asyncio.run(cast(Any, app(llm)))


def _ends(state: Any) -> None:
    _says(state["messages"][-1].text)


# -- chains -----------------------------------------------------------------------------------------------------


def _chain(llm: Any) -> Any:
    return ChatPromptTemplate.from_template("{question}") | llm | StrOutputParser()


async def _events(llm: Any) -> None:
    events = [event async for event in _chain(llm).astream_events({"question": QUESTION}, version="v2")]
    _says("".join(event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"))
    assert [event["event"] for event in events].count("on_chat_model_end") == 1


async def _astream(llm: Any) -> None:
    _says("".join([piece async for piece in _chain(llm).astream({"question": QUESTION})]))


def _configured(llm: Any) -> None:
    made = llm.configurable_fields(temperature=ConfigurableField(id="temperature"))
    _says(made.invoke(QUESTION, {"configurable": {"temperature": 0.5}}).text)


def _parallel_steps(llm: Any) -> None:
    for answer in RunnableParallel(one=_chain(llm), two=_chain(llm)).invoke({"question": QUESTION}).values():
        _says(answer)


# -- structured output --------------------------------------------------------------------------------------------


def _structured(schema: Any, **settings: Any) -> App:
    def app(llm: Any) -> None:
        found = llm.with_structured_output(schema, **settings).invoke(QUESTION)
        if settings.get("include_raw"):
            assert isinstance(found["raw"], AIMessage)
            found = found["parsed"]
        assert (found["name"] if isinstance(found, dict) else found.name) == "kettle"

    return app


# -- agents and their middleware ------------------------------------------------------------------------------------


def _with(*middleware: Any, **settings: Any) -> App:
    return lambda llm: _ends(create_agent(llm, [heat], middleware=middleware, **settings).invoke(ASKED))


def _formed(form: Any) -> App:
    def app(llm: Any) -> None:
        found = create_agent(llm, [], response_format=form).invoke(ASKED)["structured_response"]
        assert isinstance(found, Kettle)

    return app


def _approved(llm: Any) -> None:
    middleware = HumanInTheLoopMiddleware(interrupt_on={"heat": True})
    agent = create_agent(llm, [heat], middleware=[middleware], checkpointer=InMemorySaver())
    assert agent.invoke(cast(Any, ASKED), THREAD)["__interrupt__"]
    _ends(agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD))


def _summarised(llm: Any) -> None:
    summary = SummarizationMiddleware(model=llm, trigger=("messages", 3), keep=("messages", 1))
    talk = [("user", "Hello"), ("assistant", "Hi"), ("user", "It is cold."), ("assistant", "Yes."), ("user", QUESTION)]
    state = create_agent(llm, [], middleware=[summary]).invoke(cast(Any, {"messages": talk}))
    assert len(state["messages"]) == 3
    _ends(state)


def _selected(llm: Any) -> None:
    _ends(
        create_agent(llm, [heat, kettle], middleware=[LLMToolSelectorMiddleware(model=llm, max_tools=1)]).invoke(ASKED)
    )


def _own_middleware(llm: Any) -> None:
    @dynamic_prompt
    def brief(_request: Any) -> str:
        return "Be brief."

    @wrap_model_call
    def twice(request: Any, handler: Any) -> Any:
        handler(request)
        return handler(request.override(model_settings={"temperature": 0.1}))

    _ends(create_agent(llm, [heat], middleware=[brief, twice]).invoke(ASKED))


async def _awaited(llm: Any) -> None:
    _ends(await create_agent(llm, [heat]).ainvoke(cast(Any, ASKED)))


def _sub_agent(llm: Any) -> None:
    inner = create_agent(llm, [heat])

    @tool
    def ask_expert(question: str) -> str:
        """Ask the expert of kettles."""
        return str(inner.invoke(cast(Any, {"messages": [("user", question)]}))["messages"][-1].text)

    _ends(create_agent(llm, [ask_expert]).invoke(ASKED))


def _graph(llm: Any) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [llm.bind_tools([heat]).invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([heat]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    _ends(graph.compile().invoke(cast(Any, ASKED)))


# -- stream modes ---------------------------------------------------------------------------------------------------


def _mode(mode: Any) -> App:
    def app(llm: Any) -> None:
        agent = create_agent(llm, [kettle], checkpointer=InMemorySaver())
        parts = list(agent.stream(cast(Any, ASKED), THREAD, stream_mode=mode))
        assert parts
        if mode == "messages":
            spoken = [chunk.text for chunk, told in parts if told["langgraph_node"] == "model"]
            assert "".join(spoken).count("95") == 1
        _says(agent.get_state(THREAD).values["messages"][-1].text)

    return app


async def _agent_events(llm: Any) -> None:
    agent = create_agent(llm, [heat])
    events = [event async for event in agent.astream_events(cast(Any, ASKED), version="v2")]
    assert sum(event["event"] == "on_chat_model_start" for event in events) == 2


# -- memory -----------------------------------------------------------------------------------------------------------


def _checkpointed(llm: Any) -> None:
    agent = create_agent(llm, [heat], checkpointer=InMemorySaver())
    for question in (QUESTION, "Are you sure?"):
        state = agent.invoke(cast(Any, {"messages": [("user", question)]}), THREAD)
    assert len(state["messages"]) >= 6
    _ends(state)


def _remembered(llm: Any) -> None:
    history = InMemoryChatMessageHistory()
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("history"), ("user", "{question}")])
    chain: Any = RunnableWithMessageHistory(
        prompt | llm, lambda: history, input_messages_key="question", history_messages_key="history"
    )
    for question in (QUESTION, "Are you sure?"):
        _says(chain.invoke({"question": question}).text)
    assert len(history.messages) == 4


def _stored(llm: Any) -> None:
    store = InMemoryStore()
    store.put(("kettles",), "one", {"degrees": 95})
    _ends(create_agent(llm, [heat], store=store).invoke(ASKED))


def _written(llm: Any) -> None:
    agent = create_agent(llm, [heat], checkpointer=InMemorySaver())
    messages = agent.invoke(cast(Any, ASKED), THREAD)["messages"]
    serde = JsonPlusSerializer()
    assert serde.loads_typed(serde.dumps_typed(messages)) == messages


# -- retrieval --------------------------------------------------------------------------------------------------------


def _retrieval(llm: Any) -> None:
    prompt = ChatPromptTemplate.from_template("{context}\n{input}")
    _says(create_retrieval_chain(RETRIEVER, create_stuff_documents_chain(llm, prompt)).invoke({"input": QUESTION}))


def _with_history(llm: Any) -> None:
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("chat_history"), ("user", "{input}")])
    given = {"input": QUESTION, "chat_history": [HumanMessage("Hello"), AIMessage("Hi")]}
    assert create_history_aware_retriever(llm, RETRIEVER, prompt).invoke(given) == DOCUMENTS


def _queries(llm: Any) -> None:
    asked: list[str] = []

    def search(query: str) -> list[Document]:
        asked.append(query)
        return DOCUMENTS

    retriever: Any = RunnableLambda(search)
    MultiQueryRetriever.from_llm(retriever=cast(Any, _as_retriever(retriever)), llm=llm).invoke(QUESTION)
    assert asked


def _extracted(llm: Any) -> None:
    extractor = LLMChainExtractor.from_llm(llm)
    found = ContextualCompressionRetriever(base_compressor=extractor, base_retriever=_as_retriever(RETRIEVER))
    _says(found.invoke(QUESTION))


def _as_retriever(runnable: Any) -> Any:
    from langchain_core.retrievers import BaseRetriever

    class Retriever(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return cast("list[Document]", runnable.invoke(query))

    return Retriever()


# -- the model as an object, callbacks --------------------------------------------------------------------------------


def _loaded(llm: Any) -> Any:
    return load(
        dumpd(llm),
        allowed_objects=[ChatOpenAI, BlendedLLM],
        secrets_map={"OPENAI_API_KEY": "key"},
        valid_namespaces=["langchain_blender"],
    )


def _again(copied: Callable[[Any], Any]) -> App:
    return lambda llm: _says(copied(llm).invoke(QUESTION).text)


def _cached(llm: Any) -> None:
    llm = llm.model_copy(update={"cache": InMemoryCache()})
    first, second = llm.invoke(QUESTION), llm.invoke(QUESTION)
    assert first.text == second.text
    assert second.usage_metadata["total_cost"] == 0


def _counted(llm: Any) -> None:
    handler = UsageMetadataCallbackHandler()
    used = [llm.invoke(QUESTION, {"callbacks": [handler]}).usage_metadata["total_tokens"] for _ in range(2)]
    assert sum(part["total_tokens"] for part in handler.usage_metadata.values()) == sum(used)


def _counted_around(llm: Any) -> None:
    with get_usage_metadata_callback() as counter:
        used = llm.invoke(QUESTION).usage_metadata["total_tokens"]
    assert sum(part["total_tokens"] for part in counter.usage_metadata.values()) == used


def _collected(llm: Any) -> None:
    with collect_runs() as runs:
        _chain(llm).invoke({"question": QUESTION})
    assert len(runs.traced_runs) == 1


def _limited(llm: Any) -> None:
    limiter = InMemoryRateLimiter(requests_per_second=100, check_every_n_seconds=0.01)
    _says(llm.model_copy(update={"rate_limiter": limiter}).invoke(QUESTION).text)


_MODES = ("values", "updates", "messages", "custom", "checkpoints", "tasks", "debug")

APPS: dict[str, dict[str, App]] = {
    "chains": {
        "`invoke`": lambda llm: _says(_chain(llm).invoke({"question": QUESTION})),
        "`stream`": lambda llm: _says("".join(_chain(llm).stream({"question": QUESTION}))),
        "`astream`": _parallel(_astream),
        "`astream_events`": _parallel(_events),
        "`batch`": lambda llm: [_says(text) for text in _chain(llm).batch([{"question": QUESTION}] * 3)],
        "`batch_as_completed`": lambda llm: [_says(text) for _, text in llm.batch_as_completed([QUESTION] * 2)],
        "`RunnableParallel`": _parallel_steps,
        "`with_retry`": lambda llm: _says(llm.with_retry().invoke(QUESTION)),
        "`with_fallbacks`": lambda llm: _says(llm.with_fallbacks([llm]).invoke(QUESTION)),
        "`bind(stop=)`": lambda llm: _says(llm.bind(stop=["END"]).invoke(QUESTION)),
        "`configurable_fields`": _configured,
    },
    "structured output": {
        "pydantic": _structured(Kettle),
        "`TypedDict`": _structured(KettleDict),
        "JSON schema": _structured(KETTLE_SCHEMA),
        "`include_raw`": _structured(Kettle, include_raw=True),
        '`method="json_schema"`': _structured(Kettle, method="json_schema"),
        '`method="function_calling"`': _structured(Kettle, method="function_calling"),
    },
    "agents": {
        "`create_agent`": _with(),
        "async": _parallel(_awaited),
        "a schema": _formed(Kettle),
        "`ToolStrategy`": _formed(ToolStrategy(Kettle)),
        "`ProviderStrategy`": _formed(ProviderStrategy(Kettle)),
        "an agent as a tool": _sub_agent,
        "own graph with `ToolNode`": _graph,
    },
    "middleware": {
        "human in the loop": _approved,
        "summarization": _summarised,
        "model retry": _with(ModelRetryMiddleware(max_retries=1)),
        "model fallback": lambda llm: _with(ModelFallbackMiddleware(llm))(llm),
        "model call limit": _with(ModelCallLimitMiddleware(run_limit=3)),
        "tool call limit": _with(ToolCallLimitMiddleware(run_limit=3)),
        "tool retry": _with(ToolRetryMiddleware(max_retries=1)),
        "tool selector": _selected,
        "tool emulator": lambda llm: _with(LLMToolEmulator(model=llm))(llm),
        "PII": _with(PIIMiddleware("email", strategy="redact")),
        "to-do list": _with(TodoListMiddleware(), system_prompt="Be brief."),
        "context editing": _with(ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=10)])),
        "own `dynamic_prompt` and `wrap_model_call`": _own_middleware,
    },
    "stream modes": {**{mode: _mode(mode) for mode in _MODES}, "`astream_events`": _parallel(_agent_events)},
    "memory": {
        "a checkpointer": _checkpointed,
        "a store": _stored,
        "`RunnableWithMessageHistory`": _remembered,
        "messages through LangGraph's serializer": _written,
    },
    "retrieval": {
        "`create_retrieval_chain`": _retrieval,
        "`create_history_aware_retriever`": _with_history,
        "`MultiQueryRetriever`": _queries,
        "`LLMChainExtractor`": _extracted,
    },
    "serialisation": {
        "`dumpd` and `load`": _again(_loaded),
        "`pickle`": _again(lambda llm: pickle.loads(pickle.dumps(llm))),
        "`deepcopy`": _again(copy.deepcopy),
        "`model_copy`": _again(lambda llm: llm.model_copy(update={"temperature": 0.5})),
        "a message as JSON": lambda llm: json.dumps(llm.invoke(QUESTION).model_dump()),
    },
    "callbacks": {
        "`UsageMetadataCallbackHandler`": _counted,
        "`get_usage_metadata_callback`": _counted_around,
        "`collect_runs`": _collected,
        "a cache": _cached,
        "a rate limiter": _limited,
    },
}

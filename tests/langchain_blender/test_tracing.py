"""Who sees members: tracers do, everybody else sees one model call."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from langchain_core.callbacks import (
    BaseCallbackHandler,
    UsageMetadataCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.runnables.config import ensure_config
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.context import _tracing_v2_is_enabled

from blender_core.rank import LLMJudge
from blender_core.testing import FakeMember, FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.testing import FakeChatModel

from .schema_following import follow_schema


class Trees(BaseTracer):
    """Keeps every finished root run."""

    def __init__(self) -> None:
        super().__init__()
        self.roots = []

    def _persist_run(self, run) -> None:
        self.roots.append(run)

    @property
    def only(self):
        (root,) = self.roots
        return root


class Starts(BaseCallbackHandler):
    """Counts what a plain handler hears."""

    def __init__(self) -> None:
        self.started: list[UUID] = []
        self.tokens: list[str] = []

    def on_chat_model_start(self, *args, run_id, **kwargs) -> None:
        self.started.append(run_id)

    def on_llm_new_token(self, token, **kwargs) -> None:
        self.tokens.append(token)


def blend(*texts: str, **settings) -> BlendedLLM:
    members = [FakeChatModel(script=[text], model_name=f"m{index}") for index, text in enumerate(texts)]
    return BlendedLLM(llms=members, **{"report": "full", "ranker": FakeRanker(), "fuse_when": "always", **settings})


THREE = ("one", "one two", "one two three")
FAMILY = ["candidate:m0", "candidate:m1", "candidate:m2", "fuser:m0"]


def _consume(events) -> None:
    for _ in events:
        pass


async def _aconsume(events) -> None:
    async for _ in events:
        pass


SYNC = {
    "invoke": lambda llm, config: llm.invoke("Hi", config),
    "stream": lambda llm, config: _consume(llm.stream("Hi", config)),
    "bound": lambda llm, config: llm.bind(temperature=0.5).invoke("Hi", config),
    "batch": lambda llm, config: llm.batch(["Hi"], config),
}
ASYNC = {
    "ainvoke": lambda llm, config: llm.ainvoke("Hi", config),
    "astream": lambda llm, config: _aconsume(llm.astream("Hi", config)),
    "abatch": lambda llm, config: llm.abatch(["Hi"], config),
    "events v2": lambda llm, config: _aconsume(llm.astream_events("Hi", config, version="v2")),
}


def _family(run) -> list[str]:
    return sorted(child.name for child in run.child_runs)


@pytest.mark.parametrize("entry", SYNC)
def test_members_are_child_runs_of_the_blend(entry):
    trees = Trees()
    SYNC[entry](blend(*THREE), {"callbacks": [trees]})
    assert trees.only.name == "BlendedLLM"
    assert _family(trees.only) == FAMILY


@pytest.mark.parametrize("entry", ASYNC)
async def test_members_are_child_runs_of_the_blend_in_async_calls(entry):
    trees = Trees()
    await ASYNC[entry](blend(*THREE), {"callbacks": [trees]})
    assert _family(trees.only) == FAMILY


@pytest.mark.filterwarnings("ignore:.*in beta")
async def test_members_are_child_runs_in_typed_events():
    trees = Trees()
    stream = await blend(*THREE).astream_events("Hi", {"callbacks": [trees]}, version="v3")
    message = await stream
    assert message.response_metadata["blend"]["winner"] == "m2"
    assert _family(trees.only) == FAMILY


def test_in_a_chain_members_stay_below_the_blend():
    trees = Trees()
    chain = ChatPromptTemplate.from_template("{question}") | blend(*THREE) | StrOutputParser()
    chain.invoke({"question": "Hi"}, {"callbacks": [trees]})
    assert [child.name for child in trees.only.child_runs] == [
        "ChatPromptTemplate",
        "BlendedLLM",
        "StrOutputParser",
    ]
    assert _family(trees.only.child_runs[1]) == FAMILY


def test_members_with_bound_tools_do_not_attach_to_the_chain():
    """A binding looks up the ambient config, which is the chain's."""

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    trees, starts = Trees(), Starts()
    members = [FakeChatModel(script=[follow_schema(name)], model_name=name).with_retry() for name in "ab"]
    llm = BlendedLLM(llms=members, ranker=FakeRanker()).bind_tools([add])
    chain = ChatPromptTemplate.from_template("{question}") | llm
    chain.invoke({"question": "2 and 3"}, {"callbacks": [trees, starts]})
    assert len(starts.started) == 1
    assert [child.name for child in trees.only.child_runs] == ["ChatPromptTemplate", "BlendedLLM"]


@pytest.mark.parametrize("entry", ["invoke", "stream"])
def test_a_plain_handler_hears_of_one_model_call(entry):
    starts = Starts()
    SYNC[entry](blend(*THREE), {"callbacks": [starts]})
    assert len(starts.started) == 1
    assert "".join(starts.tokens) == ("" if entry == "invoke" else "one")


def test_all_handlers_hear_of_members_if_asked():
    starts = Starts()
    blend(*THREE, trace_candidates="all").invoke("Hi", {"callbacks": [starts]})
    assert len(starts.started) == 5


def test_no_tracer_hears_of_members_if_asked(monkeypatch):
    trees, enabled = Trees(), []
    monkeypatch.setenv("LANGSMITH_TRACING", "false")

    def member(messages):
        enabled.append(_tracing_v2_is_enabled())
        return "ok"

    llm = BlendedLLM(llms=[RunnableLambda(member)], trace_candidates="none")
    llm.invoke("Hi", {"callbacks": [trees]})
    assert trees.only.child_runs == []
    assert enabled == [False]


def test_usage_is_counted_once_by_the_usage_handler():
    handler = UsageMetadataCallbackHandler()
    message = blend(*THREE).invoke("Hi there", {"callbacks": [handler]})
    assert handler.usage_metadata == {"blended-llm": message.usage_metadata}
    parts = [candidate["usage"]["total_tokens"] for candidate in message.response_metadata["blend"]["candidates"]]
    assert message.usage_metadata["total_tokens"] > sum(parts) > 0


@pytest.mark.parametrize("streamed", [False, True])
def test_usage_is_counted_once_by_the_context_manager(streamed):
    """It puts its handler into every call made in its context, so into members' calls too."""
    llm = blend(*THREE)
    with get_usage_metadata_callback() as handler:
        if streamed:
            _consume(llm.stream("Hi there"))
        else:
            llm.invoke("Hi there")
    assert list(handler.usage_metadata) == ["blended-llm"]


async def test_events_name_the_blend_only():
    llm = blend(*THREE)
    chain = ChatPromptTemplate.from_template("{question}") | llm | StrOutputParser()
    events = [event async for event in chain.astream_events({"question": "Hi"}, version="v2")]
    spoken = [event for event in events if event["event"].startswith("on_chat_model")]
    assert {event["name"] for event in spoken} == {"BlendedLLM"}
    assert [event["event"] for event in spoken].count("on_chat_model_start") == 1
    assert [event["event"] for event in spoken].count("on_chat_model_end") == 1


def test_configurable_and_metadata_reach_members():
    seen = []

    def member(messages):
        config = ensure_config()
        seen.append((config["configurable"], config["metadata"]))
        return "ok"

    llm = BlendedLLM(llms=[RunnableLambda(member)])
    llm.invoke("Hi", {"configurable": {"user": "u1"}, "metadata": {"place": "here"}})
    _consume(llm.stream("Hi", {"configurable": {"user": "u1"}, "metadata": {"place": "here"}}))
    for configurable, metadata in seen:
        assert configurable["user"] == "u1"
        assert metadata["place"] == "here"
    assert len(seen) == 2


def test_a_configurable_member_is_configured():
    member = FakeChatModel(script=["default"], model_name="m").configurable_fields(
        script=ConfigurableField(id="script")
    )
    llm = BlendedLLM(llms=[member], temperature=0.5)
    assert llm.invoke("Hi", {"configurable": {"script": ["configured"]}}).text == "configured"


def test_context_variables_of_the_caller_reach_members():
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    llm = BlendedLLM(llms=[RunnableLambda(lambda messages: variable.get())])
    assert llm.invoke("Hi").text == "set"
    assert asyncio.run(llm.ainvoke("Hi")).text == "set"


def test_generate_without_invoke_traces_members_too():
    trees = Trees()
    blend(*THREE).generate([[HumanMessage("Hi")]], callbacks=[trees])
    assert _family(trees.only) == FAMILY


# -- each token once, each tag once ----------------------------------------------------------------------------


def _used(run) -> int:
    messages = [] if run.run_type == "chain" or not run.outputs else run.outputs.get("generations", [])
    own = sum((part[0]["message"]["kwargs"].get("usage_metadata") or {}).get("total_tokens", 0) for part in messages)
    return own + sum(map(_used, run.child_runs))


class AsyncTrees(AsyncBaseTracer):
    def __init__(self) -> None:
        super().__init__()
        self.roots = []

    async def _persist_run(self, run) -> None:
        self.roots.append(run)

    only = Trees.only


CALLS = {**SYNC, **ASYNC, "generate": lambda llm, config: llm.generate([[HumanMessage("Hi")]], **config)}


@pytest.mark.parametrize("tracer", [Trees, AsyncTrees])
@pytest.mark.parametrize("entry", CALLS)
@pytest.mark.parametrize("mode", ["tracers", "all", "none"])
async def test_a_trace_has_each_token_once(entry, mode, tracer):
    trees = tracer()
    made = blend(*THREE, trace_candidates=mode)
    made = made.model_copy(
        update={"llms": [*made.llms, BlendedLLM(llms=[FakeChatModel(script=["in"])], report="full")]}
    )
    if entry == "bound":
        used = made.bind(temperature=0.5).invoke("Hi").usage_metadata["total_tokens"]
    else:
        used = made.invoke("Hi").usage_metadata["total_tokens"]
    call = CALLS[entry](made, {"callbacks": [trees]})
    if asyncio.iscoroutine(call):
        await call
    assert _used(trees.only) == used > 0


@pytest.mark.parametrize("tracer", [Trees, AsyncTrees])
@pytest.mark.parametrize("entry", CALLS)
@pytest.mark.parametrize("mode", ["tracers", "all", "none"])
async def test_a_trace_has_each_token_of_a_judge_once(entry, mode, tracer):
    trees = tracer()
    judge = FakeChatModel(script=['{"ranking": ["B", "A", "C"]}'], model_name="chief")
    made = blend(*THREE, trace_candidates=mode, ranker=LLMJudge(judge, mode="listwise"))
    message = made.bind(temperature=0.5).invoke("Hi") if entry == "bound" else made.invoke("Hi")
    call = CALLS[entry](made, {"callbacks": [trees]})
    if asyncio.iscoroutine(call):
        await call
    assert len(judge.calls) == 2
    assert message.response_metadata["ranker_usage"]["total_tokens"] > 100
    assert _used(trees.only) == message.usage_metadata["total_tokens"]
    assert ("judge:chief" in _family(trees.only)) == (mode != "none")


def test_a_trace_has_the_tokens_of_members_that_are_no_child_runs():
    counted, trees = FakeMember("counted", "three more words"), Trees()
    message = BlendedLLM(llms=[counted, FakeChatModel(script=["x"])], ranker=FakeRanker(), fuser=None).invoke(
        "Hi", {"callbacks": [trees]}
    )
    own = trees.only.outputs["generations"][0][0]["message"]["kwargs"]["usage_metadata"]
    assert own["total_tokens"] == message.response_metadata["member_usage"]["counted"]["total_tokens"] > 0
    assert _used(trees.only) == message.usage_metadata["total_tokens"]


def test_a_trace_in_a_chain_has_each_tag_once():
    trees = Trees()
    chain = ChatPromptTemplate.from_template("{question}") | blend(*THREE)
    chain.invoke({"question": "Hi"}, {"callbacks": [trees], "tags": ["mine"]})
    for run in trees.only.child_runs[1].child_runs:
        assert run.tags.count("mine") == 1

"""LangGraph's agent and its middleware on a blend of scripted models."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, SummarizationMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import BaseModel

from blender_core import Prompt
from blender_core.testing import FakeFuser, FakeRanker
from langchain_blender import BlendedLLM, LangChainMember
from langchain_blender.testing import FakeCall, FakeChatModel

from .schema_following import follow_schema


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def ask_then_answer(text: str):
    """Calls the tool, then answers in its own words."""

    def step(call: FakeCall) -> str | AIMessage:
        if isinstance(call.messages[-1], ToolMessage):
            return f"{text} {call.text}"
        return AIMessage("", tool_calls=[tool_call(name="add", args={"a": 2, "b": 3}, id="call_1")])

    return step


def blend(**settings) -> BlendedLLM:
    members = [
        FakeChatModel(script=[ask_then_answer(text)], model_name=text)
        for text in ("It is", "The sum is", "If I add them it is")
    ]
    usual = {"ranker": FakeRanker(), "fuser": FakeFuser("The sum is 5"), "fuse_when": "always"}
    return BlendedLLM(llms=members, **{**usual, **settings})


QUESTION = {"messages": [HumanMessage("2 and 3?")]}


def test_an_agent_calls_a_tool_and_answers_with_the_fused_text():
    state = create_agent(blend(), tools=[add]).invoke(QUESTION)
    _, call, result, answer = state["messages"]
    assert call.tool_calls[0]["args"] == {"a": 2, "b": 3}
    assert result.text == "5"
    assert answer.text == "The sum is 5"
    assert answer.response_metadata["blend"]["fused"]


async def test_an_agent_in_async():
    state = await create_agent(blend(), tools=[add]).ainvoke(QUESTION)
    assert state["messages"][-1].text == "The sum is 5"


@pytest.mark.parametrize("trace_candidates", ["tracers", "none", "all"])
async def test_members_do_not_leak_into_the_message_stream(trace_candidates):
    agent = create_agent(blend(trace_candidates=trace_candidates), tools=[add])
    pieces = [
        piece.text
        async for piece, _ in agent.astream(QUESTION, stream_mode="messages")
        if isinstance(piece, AIMessageChunk)
    ]
    assert "".join(pieces) == "The sum is 5"
    assert len(pieces) > 2


def test_members_do_not_leak_into_the_message_stream_in_threads():
    agent = create_agent(blend(), tools=[add])
    pieces = [p.text for p, _ in agent.stream(QUESTION, stream_mode="messages") if isinstance(p, AIMessageChunk)]
    assert "".join(pieces) == "The sum is 5"


async def test_agent_events_name_the_blend_only():
    agent = create_agent(blend(), tools=[add])
    events = [event async for event in agent.astream_events(QUESTION, version="v2")]
    names = [event["name"] for event in events if event["event"] == "on_chat_model_start"]
    assert names == ["BlendedLLM", "BlendedLLM"]


class Sum(BaseModel):
    """The sum."""

    total: int


def test_an_agent_answers_by_tool_strategy():
    members = [FakeChatModel(script=[follow_schema(name)], model_name=name) for name in ("a", "b")]
    agent = create_agent(BlendedLLM(llms=members, ranker=FakeRanker()), response_format=ToolStrategy(Sum))
    assert agent.invoke({"messages": [HumanMessage("5")]})["structured_response"] == Sum(total=5)


def test_an_agent_answers_by_provider_strategy():
    members = [
        FakeChatModel(script=[text], model_name=text) for text in ('{"total": "many, many, many"}', '{"total": 5}')
    ]
    agent = create_agent(BlendedLLM(llms=members, ranker=FakeRanker()), response_format=ProviderStrategy(Sum))
    assert agent.invoke({"messages": [HumanMessage("5")]})["structured_response"] == Sum(total=5)


def test_an_agent_falls_back_to_another_model():
    down = BlendedLLM(llms=[FakeChatModel(script=[ValueError("down")])])
    agent = create_agent(down, middleware=[ModelFallbackMiddleware(blend())], tools=[add])
    assert agent.invoke(QUESTION)["messages"][-1].text == "The sum is 5"


def test_summed_usage_does_not_start_a_summary():
    """A summary starts at a context size; the sum over members is none."""
    heavy = [
        FakeChatModel(
            script=[
                AIMessage(
                    f"answer {index}",
                    usage_metadata={"input_tokens": 900, "output_tokens": 1, "total_tokens": 901},
                    response_metadata={"model_provider": "blended-llm"},
                )
            ],
            model_name=f"m{index}",
        )
        for index in range(3)
    ]
    summariser = FakeChatModel(script=["a summary"])
    agent = create_agent(
        BlendedLLM(llms=heavy, ranker=FakeRanker(), fuser=None),
        middleware=[SummarizationMiddleware(summariser, trigger=("tokens", 2000), keep=("messages", 1))],
    )
    state = agent.invoke(QUESTION)
    agent.invoke({"messages": [*state["messages"], HumanMessage("And now?")]})
    assert summariser.calls == ()


def test_a_blend_summarises():
    agent = create_agent(
        FakeChatModel(script=["ok"]),
        middleware=[SummarizationMiddleware(blend_of_text(), trigger=("messages", 2), keep=("messages", 1))],
    )
    state = agent.invoke({"messages": [HumanMessage("a"), AIMessage("b"), HumanMessage("c")]})
    assert "in short" in state["messages"][0].text


def blend_of_text() -> BlendedLLM:
    members = [FakeChatModel(script=[text], model_name=text) for text in ("short", "in short: a, b")]
    return BlendedLLM(llms=members, ranker=FakeRanker(), fuser=None)


def test_an_agent_is_a_member():
    agent = create_agent(FakeChatModel(script=[ask_then_answer("The agent says")]), tools=[add])
    message = BlendedLLM(llms=[agent, FakeChatModel(script=["5"])], ranker=FakeRanker(), fuser=None).invoke("2 and 3?")
    assert message.text == "The agent says 5"


def test_an_agents_usage_is_the_sum_of_its_model_calls():
    inner = FakeChatModel(script=[ask_then_answer("The agent says")], model_name="inner")
    agent = create_agent(inner, tools=[add])
    history = [
        HumanMessage("1 and 1?"),
        AIMessage("2", usage_metadata={"input_tokens": 900, "output_tokens": 90, "total_tokens": 990}),
        HumanMessage("2 and 3?"),
    ]
    alone = [m.usage_metadata for m in agent.invoke({"messages": history})["messages"][3:] if isinstance(m, AIMessage)]
    assert len(alone) == 2
    message = BlendedLLM(llms=[agent], fuser=None).invoke(history)
    assert message.usage_metadata["total_tokens"] == sum(usage["total_tokens"] for usage in alone)


async def test_a_chains_usage_is_the_sum_of_its_model_calls():
    draft, review = FakeChatModel(script=["a b"], model_name="draft"), FakeChatModel(script=["c d e"])
    chain = draft | (lambda message: message.text) | review | StrOutputParser()
    llm = BlendedLLM(llms=[chain], fuser=None)
    for message in (llm.invoke("Hi"), await llm.ainvoke("Hi")):
        assert message.text == "c d e"
        assert message.usage_metadata["input_tokens"] == 1 + 2
        assert message.usage_metadata["output_tokens"] == 2 + 3


def test_a_blend_inside_a_chain_counts_once():
    inner = blend(fuser=None)
    used = inner.invoke("2 and 3?").usage_metadata["total_tokens"]
    assert (
        BlendedLLM(llms=[inner | (lambda m: m)], fuser=None).invoke("2 and 3?").usage_metadata["total_tokens"] == used
    )


def test_counting_leaves_tracing_as_it_is():
    collector = RunCollectorCallbackHandler()
    agent = create_agent(FakeChatModel(script=["ok"]), tools=[add], name="agent")
    BlendedLLM(llms=[agent], fuser=None).invoke("Hi", {"callbacks": [collector], "tags": ["mine"]})
    (run,) = collector.traced_runs
    (member,) = run.child_runs
    assert member.name == "candidate:agent"
    assert "mine" in member.tags


@pytest.mark.parametrize("wrapped", [False, True])
async def test_an_agent_is_the_fuser(wrapped):
    agent = create_agent(FakeChatModel(script=[ask_then_answer("The agent says")]), tools=[add])
    fuser = agent | RunnableLambda(lambda state: state["messages"][-1]) if wrapped else agent
    members = [FakeChatModel(script=[text], model_name=text) for text in ("5", "five")]
    llm = BlendedLLM(
        llms=members, ranker=FakeRanker(), fuser=LangChainMember(fuser, input=_as_state), fuse_when="always"
    )
    assert llm.invoke("2 and 3?").text == "The agent says 5"
    chunks = list(llm.stream("2 and 3?"))
    assert "".join(chunk.text for chunk in chunks) == "The agent says 5"
    assert (chunks[0] + chunks[1:]).response_metadata["blend"]["degraded"] is False
    assert "".join([chunk.text async for chunk in llm.astream("2 and 3?")]) == "The agent says 5"


def _as_state(prompt: Prompt) -> dict:
    return {"messages": [HumanMessage(prompt.text)]}

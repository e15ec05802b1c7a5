"""How runnables are called as members, and how messages are read."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from langchain_core.language_models import LLM, FakeListChatModel, FakeListLLM
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from blender_core import Blender, GatherPolicy, Prompt, RetryPolicy, Usage
from blender_core.errors import ConfigurationError, MemberError
from blender_core.testing import FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM, LangChainMember
from langchain_blender.members import adapt
from langchain_blender.messages import refusal_of, to_answer, to_messages, to_prompt
from langchain_blender.testing import FakeChatModel

QUESTION = Prompt.of("Why?")


def asked(runnable: Any, prompt: Prompt = QUESTION, **settings: Any) -> str:
    return LangChainMember(runnable, **settings).generate(prompt).text


# -- input -----------------------------------------------------------------------------------------------------


def test_a_chain_that_starts_with_a_text_gets_the_text():
    def look_up(question: str) -> str:
        return f"context for {question}"

    prompt = ChatPromptTemplate.from_template("{context} {question}")
    model = FakeChatModel(script=[lambda call: call.text])
    chain = {"context": RunnableLambda(look_up), "question": RunnablePassthrough()} | prompt | model
    assert asked(chain, input="text") == "context for Why? Why?"
    assert asked(RunnableLambda(look_up)) == "context for Why?"


def test_a_chain_with_one_variable_gets_the_text_under_its_name():
    chain = ChatPromptTemplate.from_template("Answer: {question}") | FakeChatModel(script=[lambda call: call.text])
    assert asked(chain) == "Answer: Why?"


def test_a_chain_with_a_place_for_messages_gets_messages():
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), MessagesPlaceholder("history")])
    model = FakeChatModel(script=["ok"])
    asked(prompt | model)
    assert model.calls[0].messages == (SystemMessage("Be brief."), HumanMessage("Why?"))


def test_a_chain_with_several_variables_needs_a_wrapper():
    chain = ChatPromptTemplate.from_template("{style}: {question}") | FakeChatModel(script=[lambda call: call.text])
    with pytest.raises(ConfigurationError, match="LangChainMember"):
        LangChainMember(chain)
    assert asked(chain, input=lambda prompt: {"style": "dry", "question": prompt.text}) == "dry: Why?"


def test_what_is_not_a_runnable_is_refused():
    with pytest.raises(ConfigurationError, match="not a LangChain runnable"):
        LangChainMember("gpt")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="input is 'everything'"):
        LangChainMember(FakeChatModel(), input="everything")  # type: ignore[arg-type]
    assert adapt("gpt") is NotImplemented


class Numbered(FakeListChatModel):
    """A model whose name is no text."""

    model: int = 7


@pytest.mark.parametrize(
    ("runnable", "name"),
    [
        (FakeChatModel(model_name="gpt-x"), "gpt-x"),
        (FakeChatModel(model_name="gpt-x", name="mine"), "mine"),
        (FakeChatModel(model_name="gpt-x").with_retry().bind(stop=["x"]), "gpt-x"),
        (FakeListLLM(responses=["x"]), "FakeListLLM"),
        (Numbered(responses=["x"]), "Numbered"),
        (RunnableLambda(len, name="measure"), "measure"),
    ],
)
def test_members_are_named_after_their_model(runnable, name):
    assert LangChainMember(runnable).name == name


# -- threads or the event loop ---------------------------------------------------------------------------------


class OwnAsync(LLM):
    @property
    def _llm_type(self) -> str:
        return "own"

    def _call(self, prompt, stop=None, run_manager=None, **kwargs) -> str:
        return "sync"

    async def _acall(self, prompt, stop=None, run_manager=None, **kwargs) -> str:
        return "async"


async def later(messages) -> str:
    return "later"


@pytest.mark.parametrize(
    ("runnable", "native"),
    [
        (FakeChatModel(), True),
        (FakeChatModel().with_retry(), True),
        (FakeChatModel().with_fallbacks([FakeListChatModel(responses=["x"])]), False),
        (FakeListChatModel(responses=["x"]), False),
        (OwnAsync(), True),
        (FakeListLLM(responses=["x"]), True),
        (RunnableLambda(len), False),
        (RunnableLambda(later), True),
        (ChatPromptTemplate.from_messages([("placeholder", "{messages}")]) | FakeChatModel(), True),
        (FakeChatModel() | RunnableLambda(len), False),
    ],
)
def test_models_without_their_own_async_count_as_blocking(runnable, native):
    assert LangChainMember(runnable).has_native_async is native


async def test_each_world_has_its_own_method():
    member = LangChainMember(OwnAsync())
    assert (await member.agenerate(QUESTION)).text == "async"
    assert member.generate(QUESTION).text == "sync"


def test_an_asynchronous_function_answers_synchronous_callers():
    member = LangChainMember(RunnableLambda(later))
    assert not member.has_native_sync
    assert member.generate(QUESTION).text == "later"
    assert next(iter(member.stream(QUESTION))) == "later"


@pytest.mark.parametrize("runnable", [FakeChatModel(script=["one two"]), FakeListChatModel(responses=["one two"])])
def test_streams_end_with_the_whole_answer(runnable):
    member = LangChainMember(runnable)
    *pieces, answer = member.stream(QUESTION)
    assert "".join(pieces) == answer.text == "one two"

    async def collect():
        return [item async for item in member.astream(QUESTION)]

    *pieces, answer = asyncio.run(collect())
    assert "".join(pieces) == answer.text == "one two"


# -- messages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_might_have_been_a_thought_is_streamed_at_the_end(asynchronous):
    member = LangChainMember(FakeChatModel(script=["<th"]))

    async def collect():
        return [item async for item in member.astream(QUESTION)]

    *pieces, answer = asyncio.run(collect()) if asynchronous else member.stream(QUESTION)
    assert "".join(pieces) == answer.text == "<th"


def test_a_conversation_is_flattened_with_its_tool_calls():
    call = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "1"}])
    history = [
        SystemMessage("Be brief."),
        HumanMessage(["What ", {"type": "text", "text": "is it?"}, {"type": "image_url", "image_url": {"url": "x"}}]),
        call,
        ToolMessage("3", tool_call_id="1"),
        FunctionMessage("4", name="f"),
        ChatMessage("psst", role="developer"),
        AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Three."}]),
    ]
    prompt = to_prompt(history, {})
    assert prompt.text == (
        'System: Be brief.\nUser: What is it?[image]\nAssistant: [calls add({"a": 1})]\nTool: 3\nTool: 4\n'
        "User: psst\nAssistant: Three."
    )
    assert to_messages(prompt) == history


def test_an_engine_prompt_becomes_messages():
    prompt = Prompt.of([("system", "s"), ("user", "u"), ("assistant", "a"), ("tool", "t")])
    kinds = [type(message) for message in to_messages(prompt)]
    assert kinds == [SystemMessage, HumanMessage, AIMessage, HumanMessage]


def test_what_models_return_is_read():
    assert to_answer("text").native == AIMessage("text")
    assert to_answer(AIMessageChunk("text")).text == "text"
    assert to_answer({"messages": [HumanMessage("q"), AIMessage("a")]}).text == "a"
    used = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "total_cost": 0}
    answer = to_answer(AIMessage("a", usage_metadata=used, response_metadata={"model_name": "m", "stop_reason": "end"}))
    assert (answer.cost, answer.model, answer.finish_reason, answer.usage.total_tokens) == (0.0, "m", "end", 3)
    nothing = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert to_answer(AIMessage("a", usage_metadata=nothing)).usage == Usage(0, 0)
    with pytest.raises(MemberError, match="returned int"):
        to_answer(3)


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        (AIMessage("fine", response_metadata={"finish_reason": "stop"}), None),
        (AIMessage("fine", response_metadata={"finish_reason": "length"}), None),
        (AIMessage("", additional_kwargs={"refusal": "I will not"}), "I will not"),
        (AIMessage([{"type": "refusal", "refusal": "No"}]), "No"),
        (AIMessage([{"type": "refusal", "text": "Not this"}]), "Not this"),
        (AIMessage([{"type": "refusal"}]), "refused"),
        (AIMessage([{"type": "non_standard", "value": {"type": "refusal", "refusal": "No"}}]), "No"),
        (AIMessage("x", response_metadata={"finish_reason": "SAFETY"}), "finish reason SAFETY"),
        (AIMessage("x", response_metadata={"stop_reason": "refusal"}), "finish reason refusal"),
    ],
)
def test_refusals_of_all_providers_are_seen(message, refusal):
    assert refusal_of(message) == refusal


# -- fusing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "given", "follows"),
    [
        (None, None, True),
        ({"team": "a"}, None, True),
        ({"follows_instructions": False}, None, False),
        ({"follows_instructions": False}, True, True),
        (None, False, False),
    ],
)
def test_base_models_are_not_asked_to_fuse(metadata, given, follows):
    base = FakeChatModel(script=["once upon a time"], model_name="base", metadata=metadata)
    member = LangChainMember(base.bind(temperature=0), follows_instructions=given)
    assert member.follows_instructions is follows
    chat = FakeChatModel(script=["a", "fused by chat"], model_name="chat")
    llm = BlendedLLM(llms=[member, chat], ranker=FakeRanker(), fuse_when="always")
    assert llm.invoke("Hi").response_metadata["blend"]["fuser"] == ("llm:base" if follows else "llm:chat")


# -- errors with HTTP status 200 -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("choices", [True, False])
def test_an_error_with_status_200(way, choices):
    openai = pytest.importorskip("langchain_openai", reason="comes with the extra all")
    reply = Reply("Half", error={"code": "502", "message": "upstream is down"}, choices=choices)
    with ScriptedServer({"m": reply}) as server:
        client = openai.ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)

        async def ask(blender: Blender) -> Any:
            result = await blender.ablend("Q")
            await client.root_async_client.close()
            return result

        policy = GatherPolicy(retry=RetryPolicy(retries=1, first_wait_s=0.01))
        blender = Blender([client, lambda _: "Lima"], ranker=FakeRanker(), fuser=None, policy=policy)
        record = (blender.blend("Q") if way == "sync" else asyncio.run(ask(blender))).candidates[0]
        assert record.attempts == 2
        assert "upstream is down" in record.reason


# -- event loops -----------------------------------------------------------------------------------------------


# connections of a loop that has ended are closed by the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_client_in_several_event_loops():
    openai = pytest.importorskip("langchain_openai", reason="comes with the extra all")
    with ScriptedServer({"m": "Lima it is"}) as server:
        client = openai.ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)
        members = [client, FakeChatModel(script=["Lima"] * 3)]
        blend = BlendedLLM(llms=members, fuser=client, fuse_when="always", max_retries=0)

        async def whole() -> Any:
            return await blend.ainvoke("Capital of Peru?")

        async def streamed() -> Any:
            return [piece async for piece in blend.astream("Capital of Peru?")][-1]

        async def last() -> Any:
            message = await whole()
            await client.root_async_client.close()
            return message

        for call in (whole, streamed, last):
            report = asyncio.run(call()).response_metadata["blend"]
            gc.collect()
            assert ([one["attempts"] for one in report["candidates"]], report["degraded"]) == ([1, 1], False)

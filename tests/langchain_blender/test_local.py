from __future__ import annotations

import asyncio
import sys

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool

from blender_core.errors import ConfigurationError, MissingExtraError, QuorumError
from blender_core.testing import ScriptedServer
from langchain_blender import BlendedLLM
from langchain_blender.local import local_chat_models, open_chat_models

CAPITAL = "What is the capital of France? Answer in one sentence."


def test_a_missing_client_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain_openai", None)
    with pytest.raises(MissingExtraError, match=r"blended-llm\[all\]"):
        local_chat_models([])


@pytest.fixture(scope="module")
def members(local_servers):
    pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    return local_chat_models(local_servers, max_tokens=60)


@pytest.mark.local_models
def test_members_answer_under_their_names(members, local_servers):
    assert [member.name for member in members] == [server.model for server in local_servers]
    for member in members:
        answer = member.invoke(CAPITAL)
        assert "Paris" in answer.text
        assert answer.usage_metadata["output_tokens"] > 0
        assert answer.response_metadata["model_name"] == member.name


@pytest.mark.local_models
async def test_members_answer_async_and_in_batches(members):
    answer = await members[0].ainvoke(CAPITAL)
    assert "Paris" in answer.text
    answers = members[0].batch([CAPITAL, CAPITAL.replace("France", "Japan")])
    assert "Paris" in answers[0].text
    assert "Tokyo" in answers[1].text


@pytest.mark.local_models
def test_members_answer_in_one_event_loop_after_another(members):
    for _ in range(2):
        assert "Paris" in asyncio.run(members[0].ainvoke(CAPITAL)).text


@pytest.mark.local_models
def test_a_server_that_stands_there_again_gives_a_sampled_answer(local_servers):
    first, second = local_chat_models([local_servers[0]] * 2, max_tokens=24)
    assert (second.name, first.temperature, second.temperature, second.seed) == (f"{first.name}#2", 0, 0.7, 1)
    record = BlendedLLM(llms=[first, second], fuser=None).invoke(CAPITAL).response_metadata["blend"]
    assert [(one["model"], one["status"]) for one in record["candidates"]] == [(first.name, "ok"), (second.name, "ok")]


@pytest.mark.local_models
async def test_a_question_too_long_is_told_with_the_window(members):
    blend = BlendedLLM(llms=members[:2])
    for ask in (blend.ainvoke, lambda question: asyncio.to_thread(blend.invoke, question)):
        with pytest.raises(QuorumError, match=r"do not fit its window of 4,096.*Shorten the prompt"):
            await ask("word " * 5000)


@pytest.mark.local_models
def test_no_proxy_stands_between(local_servers, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert "Paris" in local_chat_models([local_servers[0]])[0].invoke(CAPITAL).text


@pytest.mark.local_models
def test_members_stream(members):
    for member in members:
        chunks = list(member.stream(CAPITAL))
        assert sum(bool(chunk.text) for chunk in chunks) > 3, member.name
        assert "Paris" in "".join(chunk.text for chunk in chunks)
        assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 0


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"Sunny in {city}, 21 degrees."


@pytest.mark.local_models
def test_a_member_calls_a_tool(members, local_servers):
    (member,) = [member for member, server in zip(members, local_servers, strict=True) if server.entry.calls_tools]
    with_tool = member.bind_tools([get_weather])
    question = HumanMessage("What is the weather in Paris?")
    answer = with_tool.invoke([question])
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("get_weather", {"city": "Paris"})]
    result = get_weather.invoke(answer.tool_calls[0])
    assert isinstance(result, ToolMessage)
    final = with_tool.invoke([question, answer, result])
    assert not final.tool_calls
    assert "21" in final.text


def test_endpoints_of_the_environment_take_the_place_of_local_models(monkeypatch):
    pytest.importorskip("langchain_openai")
    with ScriptedServer({"a": ["Paris."], "b": ["Rome."]}) as server:
        monkeypatch.setenv("BLENDED_LLM_ENDPOINTS", f"{server.base_url}:a {server.base_url}:b")
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        with open_chat_models() as chat_models:
            blend = BlendedLLM(llms=chat_models, ranker="longest", fuser=None)
            message = blend.invoke("Capital of France?")
    assert message.text == "Paris."
    assert [one["model"] for one in message.response_metadata["blend"]["candidates"]] == ["a", "b"]
    assert "secret" not in repr(chat_models)


def test_a_malformed_endpoint_is_named(monkeypatch):
    monkeypatch.setenv("BLENDED_LLM_ENDPOINTS", "localhost")
    with pytest.raises(ConfigurationError, match="'localhost' is not URL:MODEL"), open_chat_models():
        pass

"""Models that ``init_chat_model`` makes when they are called are members like any other."""

from __future__ import annotations

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

from blender_core.testing import FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM, LangChainMember

pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
chat_models = pytest.importorskip("langchain.chat_models", reason="langchain is not installed")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def server():
    script = {"small": ["In words."], "large": [Reply(tool_calls=(("add", '{"a": 1, "b": 2}'),))]}
    with ScriptedServer(script) as scripted:
        yield scripted


def configurable(server: ScriptedServer, name: str = "small"):
    return chat_models.init_chat_model(
        name,
        model_provider="openai",
        configurable_fields=("model", "temperature"),
        api_key="none",
        base_url=server.base_url,
        max_retries=0,
    )


def blend(*members, **settings) -> BlendedLLM:
    return BlendedLLM(llms=list(members), ranker=FakeRanker(), fuser=None, max_retries=0, **settings)


def test_call_options_reach_the_model(server):
    llm = blend(configurable(server), max_tokens=7)
    assert llm.invoke("Hi", stop=["END"], temperature=0.3).text == "In words."
    request = server.requests[0]
    assert (request["stop"], request["temperature"]) == (["END"], 0.3)
    assert 7 in (request.get("max_tokens"), request.get("max_completion_tokens"))


async def test_tools_reach_the_model(server):
    llm = blend(configurable(server, "large")).bind_tools([add], tool_choice="any")
    for message in (llm.invoke("1 and 2", temperature=0.3), await llm.ainvoke("1 and 2", temperature=0.3)):
        assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}
    for request in server.requests:
        assert request["tools"][0]["function"]["name"] == "add"
        assert (request["tool_choice"], request["temperature"]) == ("required", 0.3)


def test_the_model_is_chosen_when_the_blend_is_called(server):
    chosen = {"configurable": {"model": "large"}}
    message = blend(configurable(server)).bind_tools([add]).invoke("1 and 2", chosen)
    assert message.tool_calls
    assert server.requests[0]["model"] == "large"


def test_it_is_named_after_the_model_it_stands_for_by_default(server):
    assert LangChainMember(configurable(server)).name == "small"
    assert LangChainMember(chat_models.init_chat_model()).name == "_ConfigurableModel"
    chain = ChatPromptTemplate.from_template("{question}") | configurable(server, "large")
    assert LangChainMember(chain.with_retry()).name == "large"
    assert blend(chain).bind_tools([add]).invoke("1 and 2").tool_calls


@pytest.mark.parametrize("wrap", ["itself", "retry", "bind", "chain", "fallbacks"])
async def test_a_model_that_only_the_call_names_is_a_member_and_a_fuser(server, wrap):
    late = chat_models.init_chat_model(temperature=0, base_url=server.base_url, api_key="k", max_retries=0)
    member = {
        "itself": late,
        "retry": late.with_retry(),
        "bind": late.bind(seed=1),
        "chain": ChatPromptTemplate.from_template("{question}") | late,
        "fallbacks": late.with_fallbacks([configurable(server)]),
    }[wrap]
    chosen = {"configurable": {"model": "small", "model_provider": "openai"}}
    other = configurable(server)
    picked = blend(member, other, max_tokens=9)
    for message in (picked.invoke("Hi", chosen), await picked.ainvoke("Hi", chosen)):
        assert {part["status"] for part in message.response_metadata["blend"]["candidates"]} == {"ok"}
    fuser = late if wrap == "chain" else member
    fused = BlendedLLM(llms=[str.upper, str.lower], ranker=FakeRanker(), fuser=fuser, fuse_when="always")
    assert fused.invoke("Hi", chosen).text == "In words."
    assert 0 in [request.get("temperature") for request in server.requests]
    large = {"configurable": {"model": "large", "model_provider": "openai"}}
    assert picked.bind_tools([add]).invoke("1 and 2", large).tool_calls

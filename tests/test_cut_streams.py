"""A stream that ends before the model was done is no answer, also if the connection closes without an error."""

import asyncio

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike

from blender_core.errors import MemberError
from blender_core.members.adapters import as_member
from blender_core.members.openai_member import OpenAIMember
from blender_core.testing import FakeRanker, Reply, ScriptedServer
from blender_core.types.prompt import Prompt
from langchain_blender import BlendedLLM as LangChainBlend
from llamaindex_blender import BlendedLLM as LlamaIndexBlend


def langchain(server, model):
    return ChatOpenAI(model=model, base_url=server.base_url, api_key="key", max_retries=0)


def llamaindex(server, model, **settings):
    return OpenAILike(
        model=model, api_base=server.base_url, api_key="key", max_retries=0, **{"is_chat_model": True, **settings}
    )


CLIENTS = {
    "langchain": langchain,
    "llamaindex": llamaindex,
    "core": lambda server, model: OpenAIMember(model, base_url=server.base_url, stream_usage=False),
}


async def streamed(member):
    return [item async for item in member.astream(Prompt.of("Why?"))]


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_members_stream(client, asynchronous):
    with ScriptedServer({"m": [Reply("It is blue", breaks_off=True), "It is blue."]}) as server:
        member = as_member(client(server, "m"))
        ask = (lambda: asyncio.run(streamed(member))) if asynchronous else lambda: list(member.stream(Prompt.of("?")))
        with pytest.raises(MemberError, match="ended before the model was done"):
            ask()
        assert ask()[-1].text == "It is blue."


@pytest.mark.parametrize("blend", [LangChainBlend, LlamaIndexBlend])
@pytest.mark.parametrize("words", [3, 60])
def test_a_fuser_that_breaks_off_gives_way_to_the_best_answer(blend, words):
    """Also if so much was sent already that it cannot be taken back."""
    best = " ".join(f"It is light number {number} of many." for number in range(12))
    script = {"a": "Blue light.", "b": best, "f": Reply(" ".join(f"word{n}" for n in range(words)), breaks_off=True)}
    client = langchain if blend is LangChainBlend else llamaindex
    with ScriptedServer(script) as server:
        llm = blend(
            llms=[client(server, "a"), client(server, "b")],
            fuser=client(server, "f"),
            fuse_when="always",
            ranker=FakeRanker(),
        )
        if blend is LangChainBlend:
            *_, last = pieces = list(llm.stream("Why?"))
            text, report = "".join(piece.text for piece in pieces), last.response_metadata["blend"]
        else:
            *_, last = list(llm.stream_complete("Why?"))
            text, report = last.text, last.raw["blend"]
    assert text.endswith(best)
    assert ("word" in text) == (words == 60)
    assert "ended before the model was done" in report["degraded_reasons"][0]


def test_a_stream_with_usage_after_its_text_is_whole():
    with ScriptedServer({"m": Reply("It is blue.", finish_reason=None, usage=(3, 4))}) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="key", max_retries=0, stream_usage=True)
        assert list(as_member(model).stream(Prompt.of("Why?")))[-1].text == "It is blue."

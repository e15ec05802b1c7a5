"""A member that is down, on every face: it is skipped after a while, and a reserve takes its place."""

import asyncio

import pytest
from langchain_core.load import dumpd
from llama_index.core.llms import MockLLM

from blender_core import Blender, CircuitBreaker
from blender_core.testing import FakeMember, FakeRanker
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender.caching import is_whole
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM as LlamaIndexBlend
from llamaindex_blender.testing import ScriptedLLM

SETTINGS = {"ranker": FakeRanker(), "fuser": None, "max_retries": 0}
DOWN = ConnectionError("refused")


def members_of(kind):
    return [kind("down", DOWN), kind("good", "It is blue.")], [kind("spare", "It is blue, as light is scattered.")]


def engine(name, step):
    return FakeMember(name, step)


def langchain(name, step):
    return FakeChatModel(script=[step], model_name=name)


def llamaindex(name, step):
    return ScriptedLLM(script=[step], model=name)


async def whole(pieces):
    return [piece async for piece in pieces]


async def awaited(pieces):
    return [piece async for piece in await pieces]


ENGINE = {
    "sync": lambda blend: blend.blend("Why?").to_dict(),
    "async": lambda blend: asyncio.run(blend.ablend("Why?")).to_dict(),
    "stream": lambda blend: list(blend.stream("Why?"))[-1].result.to_dict(),
    "astream": lambda blend: asyncio.run(whole(blend.astream("Why?")))[-1].result.to_dict(),
}
LANGCHAIN = {
    "sync": lambda llm: llm.invoke("Why?").response_metadata["blend"],
    "async": lambda llm: asyncio.run(llm.ainvoke("Why?")).response_metadata["blend"],
    "stream": lambda llm: list(llm.stream("Why?"))[-1].response_metadata["blend"],
    "astream": lambda llm: asyncio.run(whole(llm.astream("Why?")))[-1].response_metadata["blend"],
}
LLAMAINDEX = {
    "sync": lambda llm: llm.complete("Why?").raw["blend"],
    "async": lambda llm: asyncio.run(llm.acomplete("Why?")).raw["blend"],
    "stream": lambda llm: list(llm.stream_complete("Why?"))[-1].raw["blend"],
    "astream": lambda llm: asyncio.run(awaited(llm.astream_complete("Why?")))[-1].raw["blend"],
}
FACES = {
    "engine": (lambda members, **settings: Blender(members, **settings), engine, ENGINE),
    "LangChain": (lambda members, **settings: LangChainBlend(llms=members, **settings), langchain, LANGCHAIN),
    "LlamaIndex": (lambda members, **settings: LlamaIndexBlend(llms=members, **settings), llamaindex, LLAMAINDEX),
}


@pytest.mark.parametrize("way", ENGINE)
@pytest.mark.parametrize("face", FACES)
def test_a_reserve_answers_for_a_member_that_is_down_and_then_skipped(face, way):
    make, kind, ways = FACES[face]
    members, reserves = members_of(kind)
    blend = make(members, reserves=reserves, breaker=CircuitBreaker(failures=1), **SETTINGS)
    for status in ("error", "skipped"):
        report = ways[way](blend)
        found = [(one["model"], one["status"], one["instead_of"]) for one in report["candidates"]]
        assert found == [("down", status, None), ("good", "ok", None), ("spare", "ok", "down")]
        assert report["winner"] == "spare"
        assert not report["degraded"]


def test_copies_of_a_framework_model_share_the_breaker():
    members, _ = members_of(langchain)
    llm = LangChainBlend(llms=members, breaker=CircuitBreaker(failures=1), **SETTINGS)
    llm.invoke("Why?")
    copied = llm.model_copy().bind(stop=["x"]).invoke("Why?")
    assert copied.response_metadata["blend"]["candidates"][0]["status"] == "skipped"


def test_reserves_are_written_and_read_like_members():
    blend = LlamaIndexBlend(llms=[MockLLM(max_tokens=1)], reserves=[MockLLM(max_tokens=2)], fuser=None)
    again = LlamaIndexBlend.from_dict(blend.to_dict())
    assert [name for name, _ in again.members] == ["MockLLM", "MockLLM#2"]
    assert again.reserves[0].max_tokens == 2
    llm = LangChainBlend(llms=[langchain("a", "x")], reserves=[langchain("b", "y")], fuser=None)
    assert len(dumpd(llm)["kwargs"]["reserves"]) == 1


def test_an_answer_without_a_member_that_was_skipped_is_not_whole():
    members, _ = members_of(engine)
    blend = Blender(members, breaker=CircuitBreaker(failures=1), **SETTINGS)
    blend.blend("Why?")
    assert not is_whole(blend.blend("Why?"))

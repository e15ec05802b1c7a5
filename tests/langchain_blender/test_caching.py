"""LangChain's cache keeps whole answers, and only those."""

from __future__ import annotations

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache

from blender_core.testing import FakeFuser, FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.testing import FakeChatModel


class FailingRanker:
    name = "failing"

    def rank(self, prompt, candidates):
        raise RuntimeError("out of memory")


def model(*script, name: str = "m", **settings) -> FakeChatModel:
    return FakeChatModel(script=list(script), model_name=name, **settings)


def blend(*members, **settings) -> BlendedLLM:
    usual = {"ranker": FakeRanker(), "fuser": FakeFuser("fused"), "max_retries": 0, "cache": InMemoryCache()}
    return BlendedLLM(llms=list(members), **{**usual, **settings})


async def call(llm: BlendedLLM, world: str) -> str:
    return (llm.invoke("Hi") if world == "sync" else await llm.ainvoke("Hi")).text


@pytest.mark.parametrize("world", ["sync", "async"])
async def test_an_answer_made_while_a_member_was_down_is_not_kept(world):
    always = model("a", name="always")
    llm = blend(always, model(ValueError("down"), "the better answer", name="flaky"), fuser=None)
    assert await call(llm, world) == "a"
    assert await call(llm, world) == "the better answer"
    assert await call(llm, world) == "the better answer"
    assert len(always.calls) == 2


@pytest.mark.parametrize("world", ["sync", "async"])
async def test_an_answer_without_the_fusion_that_was_wanted_is_not_kept(world):
    member = model("one")
    llm = blend(member, model("two two"), fuser=FakeFuser(error=RuntimeError("down")), fuse_when="always")
    for calls in (1, 2):
        assert await call(llm, world) == "two two"
        assert len(member.calls) == calls


def test_an_answer_that_was_not_ranked_as_asked_is_not_kept():
    member = model("one")
    llm = blend(member, model("two two"), ranker=FailingRanker(), fuser=None)
    assert llm.invoke("Hi").response_metadata["blend"]["degraded"]
    llm.invoke("Hi")
    assert len(member.calls) == 2


def test_a_refusal_is_an_answer_that_would_come_again():
    member = model("one", name="a")
    refused = model(lambda call: _refusal(), name="b")
    llm = blend(member, refused)
    assert llm.invoke("Hi").text == llm.invoke("Hi").text == "one"
    assert len(member.calls) == 1


def _refusal():
    from langchain_core.messages import AIMessage

    return AIMessage("", response_metadata={"finish_reason": "content_filter"})


def test_the_global_cache_is_held_to_it_too():
    cache = InMemoryCache()
    set_llm_cache(cache)
    try:
        # members of their own would be answered out of the global cache, too
        members = model("a", cache=False), model(ValueError("down"), "b b", cache=False)
        llm = blend(*members, fuser=None, cache=None)
        assert [llm.invoke("Hi").text for _ in range(3)] == ["a", "b b", "b b"]
        assert len(members[0].calls) == 2
        blend(*members, fuser=None, cache=False).invoke("Hi")
        assert len(members[0].calls) == 3
    finally:
        set_llm_cache(None)


def test_asking_for_a_cache_that_is_not_there_is_the_base_class_error():
    with pytest.raises(ValueError, match="no cache found"):
        blend(model("a"), cache=True).invoke("Hi")


def test_a_structured_answer_out_of_the_cache_is_the_same():
    llm = blend(model("a"), model("b b"), fuse_when="always")
    first, again = llm.invoke("Hi"), llm.invoke("Hi")
    assert first.text == again.text == "fused"
    assert again.response_metadata["blend"] == first.response_metadata["blend"]
    assert again.usage_metadata["total_cost"] == 0


@pytest.mark.filterwarnings("ignore:.*cannot call tools and take no part")
def test_members_that_take_no_part_do_not_keep_an_answer_out_of_the_cache():
    from langchain_core.messages import AIMessage

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    able = model(AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "1"}]), name="able")
    llm = blend(able, model("words", name="unable", tools=False), lambda text: "a function").bind_tools([add])
    assert llm.invoke("Hi").tool_calls == llm.invoke("Hi").tool_calls
    assert len(able.calls) == 1

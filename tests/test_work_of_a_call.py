"""One call makes no more threads, tasks and events than it needs: they are counted, not timed."""

import asyncio
import threading
from pathlib import Path

import pytest
from llama_index.core.llms import ChatMessage

from blender_core import Blender
from blender_core.testing import FakeMember, FakeRanker
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM as LlamaIndexBlend
from llamaindex_blender.testing import ScriptedLLM

QUESTION = "Why is the sky blue?"
OURS = {"blender_core", "langchain_blender", "llamaindex_blender"}
SIZES = [1, 3, 11]
# one answer is not ranked
RANKING = {count: ["blended-llm-compute"] * (count > 1) for count in SIZES}


def texts(count):
    return [f"answer {number} says {number * 7} birds" for number in range(count)]


def langchain(count):
    members = [FakeChatModel(script=[text] * 9) for text in texts(count)]
    blend = LangChainBlend(llms=members, ranker=FakeRanker(), fuser=None)
    return (lambda: blend.invoke(QUESTION)), (lambda: blend.ainvoke(QUESTION))


def llamaindex(count):
    members = [ScriptedLLM(script=[text] * 9) for text in texts(count)]
    blend = LlamaIndexBlend(llms=members, ranker=FakeRanker(), fuser=None)
    messages = [ChatMessage(QUESTION)]
    return (lambda: blend.chat(messages)), (lambda: blend.achat(messages))


def engine(count):
    blend = Blender([FakeMember(f"m{n}", text) for n, text in enumerate(texts(count))], ranker=FakeRanker(), fuser=None)
    return (lambda: blend.blend(QUESTION)), (lambda: blend.ablend(QUESTION))


FACES = {"engine": engine, "langchain": langchain, "llamaindex": llamaindex}


@pytest.fixture
def threads(monkeypatch):
    started = []
    start = threading.Thread.start

    def counted(thread):
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counted)
    return started


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("face", FACES)
def test_an_asynchronous_call_needs_one_thread_for_its_ranker(face, count, threads):
    _, ask = FACES[face](count)

    async def twice():
        await ask()
        threads.clear()
        await ask()

    asyncio.run(twice())
    assert threads == RANKING[count]


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("face", FACES)
def test_a_synchronous_call_needs_one_more_for_each_member(face, count, threads):
    ask, _ = FACES[face](count)
    ask()
    threads.clear()
    ask()
    assert sorted(threads) == ["blended-llm-call"] * count + RANKING[count]


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("face", FACES)
def test_a_call_needs_one_task_for_each_member(face, count):
    made = []

    def counted(loop, coroutine, **options):
        # the frameworks make tasks of their own, also of methods that are ours
        ours = OURS.intersection(Path(coroutine.cr_code.co_filename).parts)
        if ours and not coroutine.__name__.startswith("_agenerate"):
            made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def call():
        _, ask = FACES[face](count)
        await ask()
        asyncio.get_running_loop().set_task_factory(counted)
        await ask()

    asyncio.run(call())
    # the search for flaws has one; the adapters run the blend in the context of its run
    assert len(made) == count + 1 + (face != "engine"), made


@pytest.mark.parametrize("count", SIZES)
def test_a_member_tells_two_events(count):
    members = [FakeMember(f"m{n}", text) for n, text in enumerate(texts(count))]
    blend = Blender(members, ranker=FakeRanker(), fuser=None)
    told = [type(event).__name__ for event in blend.stream(QUESTION)]
    assert told.count("MemberStarted") == told.count("MemberAnswered") == count
    assert len(told) == 2 * count + len([name for name in told if name in ("Ranked", "Token", "Finished")])

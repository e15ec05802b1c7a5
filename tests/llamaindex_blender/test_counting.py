"""Callback handlers count a blend's tokens once, wherever LlamaIndex has put them."""

import asyncio

import pytest
from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM

from blender_core.rank import LLMJudge, PeerRanker
from blender_core.testing import FakeRanker
from llamaindex_blender import BlendedLLM
from llamaindex_blender.testing import ScriptedLLM

QUESTION = "How hot does the kettle get?"
ASK = [ChatMessage(role="user", content=QUESTION)]


@pytest.fixture
def counter():
    handler, before = TokenCountingHandler(), Settings._callback_manager
    Settings.callback_manager = CallbackManager([handler])
    yield handler
    Settings._callback_manager = before


def models(**settings):
    return [
        ScriptedLLM(script=["It heats up to 95 degrees."], model="a", **settings),
        ScriptedLLM(script=["It reaches 95 degrees, as the manual says."], model="b", **settings),
    ]


async def _collected(stream):
    return [piece async for piece in await stream]


CALLS = {
    "chat": lambda llm: llm.chat(ASK),
    "achat": lambda llm: asyncio.run(llm.achat(ASK)),
    "stream": lambda llm: list(llm.stream_chat(ASK))[-1],
    "astream": lambda llm: asyncio.run(_collected(llm.astream_chat(ASK)))[-1],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("settings", [{"fuser": None}, {"fuse_when": "always"}], ids=["picked", "fused"])
def test_the_handlers_of_settings_count_once(counter, call, settings):
    members = models()
    assert all(counter in member.callback_manager.handlers for member in members)
    llm = BlendedLLM(llms=members, ranker=FakeRanker(), **settings)
    response = call(llm)
    assert len(counter.llm_token_counts) == 1
    assert counter.total_llm_token_count == response.raw["usage"]["total_tokens"]
    assert response.raw["blend"]["usage_known"]
    # the member tells of its own calls, and of handlers that come later
    members[0].chat(ASK)
    assert len(counter.llm_token_counts) == 2
    other = TokenCountingHandler()
    Settings.callback_manager.add_handler(other)
    members[0].chat(ASK)
    call(llm)
    assert len(other.llm_token_counts) == 2


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("council", [False, True], ids=["judge", "council"])
def test_judges_are_counted_once(counter, call, council):
    judges = [ScriptedLLM(script=['{"ranking": ["B", "A"]}'], model=name) for name in "xy"]
    ranker = PeerRanker(judges) if council else LLMJudge(judges[0], mode="listwise")
    response = call(BlendedLLM(llms=models(), ranker=ranker, fuser=None))
    report = response.raw["blend"]
    assert not report["degraded"]
    assert len(counter.llm_token_counts) == 1
    assert counter.total_llm_token_count == response.raw["usage"]["total_tokens"]
    members = sum(record["usage"]["total_tokens"] for record in report["candidates"])
    assert report["ranker_usage"]["total_tokens"] == response.raw["usage"]["total_tokens"] - members > 100


def test_nested_blends_count_once(counter):
    inner = BlendedLLM(llms=models(), ranker=FakeRanker(), fuser=None)
    response = BlendedLLM(llms=[inner, *models()], ranker=FakeRanker(), fuser=None).chat(ASK)
    assert len(counter.llm_token_counts) == 1
    assert counter.total_llm_token_count == response.raw["usage"]["total_tokens"]


def test_a_handler_of_a_member_alone_hears_of_its_calls():
    handler = TokenCountingHandler()
    members = models()
    members[0].callback_manager = CallbackManager([handler])
    BlendedLLM(llms=members, ranker=FakeRanker(), fuser=None).chat(ASK)
    assert len(handler.llm_token_counts) == 1


def test_tokens_that_no_call_reports_are_estimated_as_those_of_a_plain_llm(counter):
    plain = MockFunctionCallingLLM()
    plain.chat(ASK)
    once = counter.total_llm_token_count
    counter.reset_counts()
    blended = BlendedLLM(llms=[MockFunctionCallingLLM(), MockFunctionCallingLLM()], ranker=FakeRanker(), fuser=None)
    response = blended.chat(ASK)
    assert counter.total_llm_token_count == response.raw["usage"]["total_tokens"] == 2 * once > 0
    assert not response.raw["blend"]["usage_known"]


def test_a_fuser_that_reports_no_usage_is_estimated(counter):
    reported = BlendedLLM(llms=models(), ranker=FakeRanker(), fuser=None).chat(ASK).raw["usage"]["total_tokens"]
    counter.reset_counts()
    fuser = ScriptedLLM(script=["It gets as hot as 95 degrees."], usage=False)
    response = BlendedLLM(llms=models(), ranker=FakeRanker(), fuser=fuser, fuse_when="always").chat(ASK)
    # the fuser has read both answers and its instruction
    assert counter.total_llm_token_count > reported + 100
    assert not response.raw["blend"]["usage_known"]


def test_without_a_handler_nothing_is_estimated():
    response = BlendedLLM(llms=models(usage=False), ranker=FakeRanker(), fuser=None).chat(ASK)
    assert "usage" not in response.raw

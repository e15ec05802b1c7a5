"""The response that comes out: its end, and its content beside text."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    CitationBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
)

from blender_core.testing import FakeFuser, FakeRanker
from llamaindex_blender import BlendedLLM
from llamaindex_blender.testing import ScriptedLLM

# LlamaIndex's own code calls what pydantic deprecates
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

QUESTION = [ChatMessage(content="Why is the sky blue?")]
BEST = "The sky is blue since air scatters blue light far more than red light."
OTHER = "Blue light is scattered the most of all colours."
CUT = "The sky is blue as a"
IMAGE = ImageBlock(url="http://x/a.png")
CITATION = CitationBlock(cited_content="Paris, France", source="e.org", title="E", additional_location_info={"page": 1})


def message(*blocks, **keywords):
    blocks = [TextBlock(text=block) if isinstance(block, str) else block for block in blocks]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=keywords)


def model(*script):
    return ScriptedLLM(script=list(script), model="m")


def blend(*steps, **settings):
    return BlendedLLM(llms=[model(step) for step in steps], **{"ranker": FakeRanker(), "fuser": None, **settings})


async def last(stream):
    return [piece async for piece in await stream][-1]


CALLS = {
    "chat": lambda llm: llm.chat(QUESTION),
    "achat": lambda llm: asyncio.run(llm.achat(QUESTION)),
    "stream_chat": lambda llm: list(llm.stream_chat(QUESTION))[-1],
    "astream_chat": lambda llm: asyncio.run(last(llm.astream_chat(QUESTION))),
}


def every_call(function):
    return pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)(function)


# -- how a text ended -------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("key", ["finish_reason", "stop_reason", "stopReason", "done_reason"])
def test_a_fusion_that_was_cut_off_is_refused(call, key):
    response = call(blend(BEST, OTHER, fuser=model(message(CUT, **{key: "MAX_TOKENS"})), fuse_when="always"))
    assert response.message.content == BEST
    assert "cut off" in response.raw["blend"]["fusion_refused"]
    assert not response.raw["blend"]["degraded"]
    assert response.raw["finish_reason"] == "stop"


def test_what_was_sent_of_a_fusion_that_was_cut_off_is_counted():
    long = " ".join(f"word{number}" for number in range(60))
    fuser = model(message(long, finish_reason="length"))
    *_, response = blend(BEST, OTHER, fuser=fuser, fuse_when="always").stream_chat(QUESTION)
    sent, answer = response.message.content.split("\n\n")
    assert answer == BEST
    assert response.raw["blend"]["rejected_characters"] == len(sent) > 0


@pytest.mark.parametrize("fuse_when", ["always", "never"])
def test_of_a_stream_that_took_nothing_back_nothing_is_counted(fuse_when):
    fuser = model(message(BEST + " So it is."))
    *_, response = blend(BEST, OTHER, fuser=fuser, fuse_when=fuse_when).stream_chat(QUESTION)
    assert response.raw["blend"]["rejected_characters"] == 0


@every_call
def test_a_fusion_of_answers_that_were_cut_off_says_how_it_ended(call):
    best, other = (message(text, finish_reason="length") for text in (BEST, OTHER))
    fused = message(CUT, finish_reason="MAX_TOKENS")
    response = call(blend(best, other, fuser=model(fused), fuse_when="always"))
    assert response.message.content == CUT
    assert response.raw["finish_reason"] == "MAX_TOKENS"


def test_a_blend_in_a_blend_hands_the_reason_on():
    inner = blend(message(BEST, finish_reason="length"))
    outer = BlendedLLM(llms=[inner], ranker=FakeRanker(), fuser=None)
    assert outer.chat(QUESTION).raw["blend"]["candidates"][0]["finish_reason"] == "length"


@every_call
def test_what_is_wrong_with_an_answer_is_in_the_report_and_refusals_stand(call):
    response = call(blend(message(CUT, finish_reason="length"), BEST, fuser=model("fused"), fuse_when="always"))
    report = response.raw["blend"]
    assert (response.message.content, report["decision"]) == (BEST, "picked: the others are flawed")
    assert [candidate["flaw"] for candidate in report["candidates"]] == ["cut off", None]
    refusal = "I'm sorry, but I can't help with that."
    assert call(blend(refusal, "Yes.", fuser=model("fused"), fuse_when="always")).message.content == refusal


# -- content beside text ----------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("block", [IMAGE, CITATION], ids=["image", "citation"])
def test_content_without_text_is_an_answer(call, block):
    assert call(blend(message(block))).message.blocks == [block]


@every_call
def test_images_alone_are_neither_ranked_nor_fused(call):
    response = call(blend(message(IMAGE), message(IMAGE), fuser=FakeFuser("fused"), fuse_when="always"))
    assert response.message.blocks == [IMAGE]
    assert response.raw["blend"]["degraded"] is False


@every_call
def test_an_image_alone_ranks_behind_text(call):
    response = call(blend(message(IMAGE), BEST))
    assert response.message.blocks == [TextBlock(text=BEST)]
    assert [candidate["status"] for candidate in response.raw["blend"]["candidates"]] == ["ok", "ok"]


@pytest.mark.parametrize(
    "block",
    [ThinkingBlock(content="hm"), CachePoint(cache_control=CacheControl(type="ephemeral"))],
    ids=["thought", "cache"],
)
def test_what_is_left_out_of_the_response_is_no_answer(block):
    report = blend(message(block), BEST).chat(QUESTION).raw["blend"]
    assert "empty answer" in report["candidates"][0]["reason"]


@every_call
def test_blocks_of_a_picked_message_stay_in_their_order(call):
    blocks = [TextBlock(text="Paris."), CITATION, TextBlock(text="As you see:"), IMAGE]
    response = call(blend(message(*blocks)))
    assert response.message.blocks == blocks
    assert response.message.content == "Paris.\nAs you see:"


def test_a_text_that_was_cut_comes_first():
    response = blend(message(IMAGE, "Paris STOP Rome", CITATION)).chat(QUESTION, stop=["STOP"])
    assert response.message.blocks == [TextBlock(text="Paris "), IMAGE, CITATION]


@pytest.mark.parametrize(
    "raw",
    [
        {"choices": [{"finish_reason": "content_filter"}]},
        {"finish_reason": "FinishReason.SPII"},
        {"stopReason": "content_filtered"},
        {"stop_reason": "refusal"},
    ],
)
def test_an_answer_that_its_provider_withheld_loses(raw):
    class Withheld(ScriptedLLM):
        def _chat(self, messages, **kwargs):
            response = super()._chat(messages, **kwargs)
            response.raw = raw
            return response

    llm = BlendedLLM(llms=[Withheld(script=["Partly so."], model="a"), model("x")], ranker=FakeRanker(), fuser=None)
    response = llm.chat([ChatMessage(role="user", content="Why?")])
    assert response.message.content == "x"
    assert response.raw["blend"]["candidates"][0]["status"] == "refused"

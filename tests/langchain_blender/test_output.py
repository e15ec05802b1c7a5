"""The message that comes out: its end, its content beside text, its usage."""

from __future__ import annotations

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from blender_core.testing import FakeFuser, FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.testing import FakeChatModel

BEST = "The sky is blue since air scatters blue light far more than red light."
OTHER = "Blue light is scattered the most of all colours."
CUT = "The sky is blue as a"
IMAGE = {"type": "image", "url": "http://x/a.png", "mime_type": "image/png"}
CITED = {
    "type": "text",
    "text": "Paris.",
    "annotations": [{"type": "citation", "url": "https://e.org", "title": "E", "start_index": 0, "end_index": 5}],
}


def model(*script, name: str = "m") -> FakeChatModel:
    return FakeChatModel(script=list(script), model_name=name)


def blend(*members, **settings) -> BlendedLLM:
    llms = [member if isinstance(member, FakeChatModel) else model(member) for member in members]
    return BlendedLLM(llms=llms, **{"report": "full", "ranker": FakeRanker(), "fuser": None, **settings})


def said(text, **metadata) -> AIMessage:
    return AIMessage(text, response_metadata=metadata)


def joined(chunks):
    return chunks[0] + chunks[1:]


CALLS = {
    "invoke": lambda llm: llm.invoke("Why?"),
    "stream": lambda llm: joined(list(llm.stream("Why?"))),
}


def every_call(function):
    return pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)(function)


# -- how a text ended -------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize(
    "ended",
    [
        {"finish_reason": "length"},
        {"finish_reason": "MAX_TOKENS"},
        {"stop_reason": "max_tokens"},
        {"stopReason": "max_tokens"},
        {"done_reason": "length"},
        {"incomplete_details": {"reason": "max_output_tokens"}},
    ],
    ids=str,
)
def test_a_fusion_that_was_cut_off_is_refused(call, ended):
    message = call(blend(BEST, OTHER, fuser=model(said(CUT, **ended)), fuse_when="always"))
    report = message.response_metadata["blend"]
    assert message.text == report["text"] == BEST
    assert message.response_metadata["finish_reason"] == "stop"
    assert "cut off" in report["fusion_refused"]
    assert not report["degraded"]


def test_a_fusion_that_was_cut_off_is_not_cached():
    cache = InMemoryCache()
    blend(BEST, OTHER, fuser=model(said(CUT, finish_reason="length")), fuse_when="always", cache=cache).invoke("Why?")
    assert not cache._cache


async def test_what_was_sent_of_a_fusion_that_was_cut_off_is_counted():
    long = " ".join(f"word{number}" for number in range(60))
    llm = blend(BEST, OTHER, fuser=model(said(long, finish_reason="length")), fuse_when="always")
    for message in (joined(list(llm.stream("Why?"))), joined([chunk async for chunk in llm.astream("Why?")])):
        sent, answer = message.text.split("\n\n")
        assert answer == BEST
        assert message.response_metadata["blend"]["rejected_characters"] == len(sent) > 0
        assert message.response_metadata["finish_reason"] == "stop"


@every_call
def test_a_fusion_of_answers_that_were_cut_off_says_how_it_ended(call):
    best, other = (said(text, finish_reason="length") for text in (BEST, OTHER))
    message = call(blend(best, other, fuser=model(said(CUT, finish_reason="MAX_TOKENS")), fuse_when="always"))
    assert message.text == CUT
    assert message.response_metadata["finish_reason"] == "MAX_TOKENS"
    assert not message.response_metadata["blend"]["degraded"]


@every_call
def test_what_is_wrong_with_an_answer_is_in_the_report_and_refusals_stand(call):
    message = call(blend(said(CUT, finish_reason="length"), BEST, fuser=model("fused"), fuse_when="always"))
    report = message.response_metadata["blend"]
    assert (message.text, report["decision"]) == (BEST, "picked: the others are flawed")
    assert [candidate["flaw"] for candidate in report["candidates"]] == ["cut off", None]
    refusal = "I'm sorry, but I can't help with that."
    assert call(blend(refusal, "Yes.", fuser=model("fused"), fuse_when="always")).text == refusal


# -- content beside text ----------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize(
    "content",
    [[IMAGE], [{"type": "text", "text": ""}, IMAGE], [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]],
)
def test_an_image_alone_is_an_answer(call, content):
    message = call(blend(AIMessage(content)))
    assert message.text == ""
    assert [block["type"] for block in message.content_blocks] == ["image"]
    assert message.content_blocks[0]["url"] == "http://x/a.png"


@every_call
def test_images_alone_are_neither_ranked_nor_fused(call):
    message = call(blend(AIMessage([IMAGE]), AIMessage([IMAGE]), fuser=FakeFuser("fused"), fuse_when="always"))
    assert [block["type"] for block in message.content_blocks] == ["image"]
    assert not message.response_metadata["blend"]["degraded"]


@every_call
def test_an_image_alone_ranks_behind_text(call):
    message = call(blend(AIMessage([IMAGE]), BEST))
    assert message.content_blocks == [{"type": "text", "text": BEST}]
    assert [candidate["status"] for candidate in message.response_metadata["blend"]["candidates"]] == ["ok", "ok"]


@pytest.mark.parametrize(
    "content",
    [
        [],
        [{"type": "reasoning", "reasoning": "hm"}],
        [{"type": "text", "text": " "}],
        [{"type": "web_search_call", "id": "1"}],
        [{"type": "server_tool_use", "id": "1", "name": "search", "input": {}}],
    ],
    ids=str,
)
def test_what_is_left_out_of_the_message_is_no_answer(content):
    report = blend(AIMessage(content), BEST).invoke("Why?").response_metadata["blend"]
    assert "empty answer" in report["candidates"][0]["reason"]


def test_citations_of_a_picked_text_stay():
    provider = {**CITED, "id": "1", "annotations": [{**CITED["annotations"][0], "id": "c1", "extras": {"x": 1}}]}
    message = blend(AIMessage([provider])).invoke("Why?")
    assert message.content == message.content_blocks == [CITED]
    assert message.text == "Paris."
    assert provider["annotations"][0]["id"] == "c1"


def test_blocks_of_a_picked_message_stay_in_their_order():
    thought, caption = {"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "As you see."}
    message = blend(AIMessage([thought, CITED, IMAGE, caption])).invoke("Why?")
    assert message.content == [CITED, IMAGE, caption]
    assert message.content_blocks == [thought, CITED, IMAGE, caption]


def test_a_text_that_was_cut_or_thought_aloud_has_no_citations():
    assert blend(AIMessage([CITED]), stop=["s."]).invoke("Why?").content == "Pari"
    thinking = {**CITED, "text": "<think>hm</think>Paris."}
    assert blend(AIMessage([thinking])).invoke("Why?").content == "Paris."


def test_blocks_that_hold_text_only_become_a_text():
    parts = [{"type": "text", "text": "Par", "id": "1"}, {"type": "text", "text": "is."}]
    assert blend(AIMessage(parts)).invoke("Why?").content == "Paris."


@pytest.mark.parametrize("wrong", [True, 7, ["Paris."], {"value": "Paris."}], ids=str)
def test_texts_and_thoughts_that_are_no_text_end_nothing(wrong):
    content = [{"type": "text", "text": wrong}, IMAGE, {"type": "reasoning", "reasoning": wrong}]
    message = blend(AIMessage(content)).invoke("Why?")
    assert message.response_metadata["blend"]["winner"]
    assert IMAGE in message.content
    assert "reasoning_content" not in message.additional_kwargs


def test_citations_of_an_earlier_answer_are_not_sent_to_members():
    member = model("And Rome.")
    first = blend(AIMessage([CITED])).invoke("Why?")
    blend(member).invoke([HumanMessage("Why?"), first, HumanMessage("And?")])
    assert member.calls[0].messages[1].content == [{"type": "text", "text": "Paris."}]
    assert first.content == [CITED]


# -- usage ------------------------------------------------------------------------------------------------


def used(text, **details) -> AIMessage:
    return AIMessage(text, usage_metadata={"input_tokens": 10, "output_tokens": 20, "total_tokens": 30, **details})


@every_call
def test_details_of_usage_are_the_sum_over_members_and_fuser(call):
    details = {"output_token_details": {"reasoning": 10}, "input_token_details": {"cache_read": 3}}
    llm = blend(used(BEST, **details), used(OTHER), fuser=model(used("fused", **details)), fuse_when="always")
    assert call(llm).usage_metadata == {
        "input_tokens": 30,
        "output_tokens": 60,
        "total_tokens": 90,
        "output_token_details": {"reasoning": 20},
        "input_token_details": {"cache_read": 6},
    }


def test_details_of_a_chain_are_the_sum_over_its_calls():
    first, second = (used(text, output_token_details={"reasoning": 10, "audio": 1}) for text in ("one", "two"))
    chain = model(first) | RunnableLambda(lambda message: f"next {message.text}") | model(second)
    usage = BlendedLLM(llms=[chain], ranker=FakeRanker(), fuser=None).invoke("Why?").usage_metadata
    assert usage["output_token_details"] == {"reasoning": 20, "audio": 2}
    assert usage["total_tokens"] == 60
    assert "input_token_details" not in usage

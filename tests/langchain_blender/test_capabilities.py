"""A member whose profile rules a prompt out takes no part, and its record says why."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from blender_core import Prompt
from blender_core.errors import QuorumError
from blender_core.testing import FakeRanker
from langchain_blender import BlendedLLM, LangChainMember
from langchain_blender.testing import FakeChatModel
from langchain_blender.usage import count_messages

DATA = {"base64": "aGk="}
IMAGE = {"type": "image", "mime_type": "image/png", **DATA}
BY_URL = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
CONTENT = {
    "image_inputs": IMAGE,
    "image_url_inputs": BY_URL,
    "audio_inputs": {"type": "audio", "mime_type": "audio/wav", **DATA},
    "video_inputs": {"type": "video", "mime_type": "video/mp4", **DATA},
    "pdf_inputs": {"type": "file", "mime_type": "application/pdf", **DATA},
}
LONG = "Why is the sky blue? " * 40


def model(text: str, name: str, **profile: Any) -> FakeChatModel:
    return FakeChatModel(script=[text], model_name=name, profile=profile or None)


def blend(*members: Any, **settings: Any) -> BlendedLLM:
    return BlendedLLM(llms=list(members), **{"ranker": FakeRanker(), "fuser": None, **settings})


def asked(block: dict[str, Any]) -> list[Any]:
    return [HumanMessage([{"type": "text", "text": "What is it?"}, block])]


def records(message: AIMessage) -> list[tuple[str, Any]]:
    return [(c["status"], c["reason"]) for c in message.response_metadata["blend"]["candidates"]]


@pytest.mark.parametrize("lacks", CONTENT)
@pytest.mark.parametrize("quorum", [1, 2, 3])
async def test_members_that_cannot_take_the_content_take_no_part(lacks, quorum):
    able = model("A cat.", "able", **dict.fromkeys(CONTENT, True))
    unknown, unable = model("Cat", "unknown"), model("It is a cat, surely.", "unable", **{lacks: False})
    llm = blend(able, unable.with_retry(), unknown, quorum=quorum, cache=InMemoryCache())
    for message in (llm.invoke(asked(CONTENT[lacks])), await llm.ainvoke(asked(CONTENT[lacks]))):
        (_, none), (status, reason), _ = records(message)
        assert (message.text, none, status) == ("A cat.", None, "unsupported")
        assert f"{lacks}: False" in reason
    assert unable.calls == ()
    # a whole answer is cached
    assert len(able.calls) == 1
    assert blend(unable).invoke("Hi").text


def test_content_in_the_result_of_a_tool_is_looked_at_too():
    call = AIMessage("", tool_calls=[tool_call(name="look", args={}, id="1")])
    history = [HumanMessage("Look"), call, ToolMessage([IMAGE], tool_call_id="1")]
    blind = model("It is a cat, surely.", "blind", image_inputs=True, image_tool_message=False)
    message = blend(blind, model("A cat.", "sees", image_inputs=True, image_tool_message=True)).invoke(history)
    assert message.text == "A cat."
    assert "image_tool_message" in records(message)[0][1]


@pytest.mark.parametrize("own_tokenizer", [False, True])
def test_a_member_whose_window_is_too_small_takes_no_part(own_tokenizer):
    small = FakeChatModel(script=["A very long answer."], profile={"max_input_tokens": 50})
    if own_tokenizer:
        small.custom_get_token_ids = lambda text: [0] * len(text.split())
    # without the model's tokenizer a count is a lower bound
    assert ("at least" in LangChainMember(small).why_not(Prompt.of(LONG))) is not own_tokenizer
    llm = blend(small, model("Short.", "large", max_input_tokens=10_000), quorum=2)
    first, *rest = llm.stream(LONG)
    message = first + rest
    assert message.text == "Short."
    status, reason = records(message)[0]
    assert status == "too_long"
    assert "tokens do not fit its window of 50" in reason
    assert small.calls == ()
    assert llm.invoke("Short?").text == "A very long answer."


@pytest.mark.parametrize(("window", "fits"), [(11, True), (10, False)])
def test_each_message_counts_three_tokens_more(window, fits):
    llm = FakeChatModel(profile={"max_input_tokens": window})
    llm.custom_get_token_ids = lambda text: [0] * len(text.split())
    reason = LangChainMember(llm).why_not(Prompt.of([("system", "Be brief."), ("user", "Why is it?")]))
    assert reason == (None if fits else "the prompt is too long: 11 tokens > 10")


def test_a_prompt_that_may_fit_is_sent():
    assert blend(model("Yes.", "tight", max_input_tokens=len(LONG) // 5)).invoke(LONG).text == "Yes."


def test_if_nobody_can_take_the_prompt_each_reason_is_said():
    llm = blend(model("a", "blind", image_inputs=False), model("b", "small", max_input_tokens=2))
    with pytest.raises(QuorumError, match=r"blind: unsupported \(.*image_inputs.*small: too_long \(.*window of 2"):
        llm.invoke([HumanMessage([{"type": "text", "text": LONG}, IMAGE])])


def test_fallbacks_chains_and_members_that_read_text_are_not_ruled_out():
    blind = model("In words.", "blind", image_inputs=False)
    down = FakeChatModel(script=[ValueError("down")], profile={"image_inputs": False})
    chain = ChatPromptTemplate.from_template("{question}") | blind | StrOutputParser()
    members = [down.with_fallbacks([model("A cat.", "sees")]), chain, LangChainMember(blind, input="text")]
    message = blend(*members, max_retries=0).invoke(asked(IMAGE))
    assert [status for status, _ in records(message)] == ["ok"] * 3


def test_a_conversation_is_counted_by_the_members_tokenizers():
    messages = [HumanMessage("four"), HumanMessage("words")]
    assert count_messages(messages, [{"name": "add"}], [lambda text: [0] * len(text)]) == 4 + 5 + 2 * 3 + 15
    assert count_messages(messages, [], []) == count_tokens_approximately(messages)

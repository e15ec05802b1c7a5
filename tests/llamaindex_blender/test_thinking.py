"""What a member thinks is neither ranked nor fused; it stays with the message that is picked."""

from __future__ import annotations

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.tools import FunctionTool

from blender_core.testing import FakeFuser, FakeRanker
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM
from llamaindex_blender.messages import MEMBER_KEY
from llamaindex_blender.testing import ScriptedLLM

# LlamaIndex's own code calls what pydantic deprecates
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

THOUGHT = "<think>It could be Rome, or Paris, or anything else.</think>\n\nParis"
QUESTION = [ChatMessage(role="user", content="Capital of France?")]


def model(*script, name="m"):
    return ScriptedLLM(script=list(script), model=name)


def blend(*members, **settings):
    return BlendedLLM(llms=list(members), **{"ranker": FakeRanker(), "fuser": FakeFuser("fused"), **settings})


def assistant(*blocks, **keywords):
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=list(blocks), additional_kwargs=keywords)


def thoughts(message):
    return [block.content for block in message.blocks if isinstance(block, ThinkingBlock)]


@pytest.mark.parametrize(
    "given_message",
    [
        THOUGHT,
        assistant(ThinkingBlock(content="so many capitals, so much to weigh"), TextBlock(text="Paris")),
    ],
    ids=["tag", "block"],
)
async def test_what_was_thought_is_neither_ranked_nor_fused(given_message):
    fused = []

    def fuse(request):
        fused.append(request.candidates)
        return "fused"

    llm = blend(model(given_message), model("Rome, I am sure"), fuser=FakeFuser(fuse), fuse_when="always")
    for response in (llm.chat(QUESTION), await llm.achat(QUESTION)):
        report = response.raw["blend"]
        assert [candidate["text"] for candidate in report["candidates"]] == ["Paris", "Rome, I am sure"]
        # the ranker takes the longer text for the better
        assert report["winner"] == "m#2"
        assert response.message.blocks == [TextBlock(text="fused")]
    assert [sorted(texts) for texts in fused] == [["Paris", "Rome, I am sure"]] * 2


def test_a_member_that_only_thinks_has_not_answered():
    response = blend(model("<think>so many capitals", name="thinker"), model("Paris", name="b")).chat(QUESTION)
    thinker, _ = response.raw["blend"]["candidates"]
    assert response.message.content == "Paris"
    assert thinker["status"] == "error"
    assert "empty answer" in thinker["reason"]


async def test_a_fuser_that_thinks_aloud_streams_its_answer_only():
    writer = model("<think>Both say Paris, so</think>\n\nParis it is, the city of light.")
    llm = blend(model("Paris"), model("It is Paris"), fuser=writer, fuse_when="always")
    text = "Paris it is, the city of light."
    assert "".join(piece.delta for piece in llm.stream_chat(QUESTION)) == text
    assert "".join([piece.delta async for piece in await llm.astream_chat(QUESTION)]) == text
    assert llm.complete("Capital?").text == text
    *_, last = llm.stream_complete("Capital?")
    assert last.text == text


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "given_message",
    [
        assistant(TextBlock(text="Paris"), reasoning_content="It could be Rome."),
        "<think>It could be Rome.</think>Paris",
        assistant(
            ThinkingBlock(content="It could be Rome.", additional_information={"signature": "xyz"}),
            TextBlock(text="Paris"),
        ),
    ],
    ids=["keyword", "tag", "block"],
)
def test_a_picked_message_keeps_its_thoughts(given_message, streamed):
    llm = blend(model(given_message))
    response = list(llm.stream_chat(QUESTION))[-1] if streamed else llm.chat(QUESTION)
    assert response.message.content == "Paris"
    thought, text = response.message.blocks
    assert thought == ThinkingBlock(content="It could be Rome.", additional_information={MEMBER_KEY: "m"})
    assert text == TextBlock(text="Paris")
    # as every message, it survives a chat store
    assert ChatMessage.model_validate_json(response.message.model_dump_json()).blocks == response.message.blocks


def test_streamed_tokens_hold_no_thought():
    assert "".join(piece.delta for piece in blend(model(THOUGHT)).stream_chat(QUESTION)) == "Paris"


def test_a_fused_text_has_no_thoughts():
    llm = blend(model(assistant(ThinkingBlock(content="hm"), TextBlock(text="Paris"))), model("It"), fuse_when="always")
    response = llm.chat(QUESTION)
    assert response.message.content == "fused"
    assert thoughts(response.message) == []


def test_thoughts_of_one_member_are_not_sent_to_the_others():
    llamaindex, langchain = model("And Rome is Italy's."), FakeChatModel(script=["Rome"])
    picked = blend(model(THOUGHT)).chat(QUESTION).message
    foreign = assistant(ThinkingBlock(content="mine"), TextBlock(text="Paris"))
    only_thought = assistant(ThinkingBlock(content="hm", additional_information={MEMBER_KEY: "m"}))
    history = [*QUESTION, picked, foreign, only_thought, ChatMessage(role="user", content="And of Italy?")]
    before = [message.model_copy(deep=True) for message in history]
    blend(llamaindex, langchain).chat(history)
    _, first, second, third, _ = llamaindex.calls[0].messages
    assert first.blocks == [TextBlock(text="Paris")]
    # what did not come from a member is the caller's
    assert second == foreign
    assert third.blocks == [TextBlock(text="")]
    assert "weigh" not in str(langchain.calls[0].messages)
    assert "hm" not in str(langchain.calls[0].messages)
    assert history == before


async def test_an_agent_keeps_thoughts_out_of_its_tool_calls():
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    def step(call):
        if call.messages[-1].role == MessageRole.TOOL:
            return f"<think>easy</think>The sum is {call.text}."
        call_block = ToolCallBlock(tool_name="add", tool_kwargs={"a": 2, "b": 3}, tool_call_id="1")
        return assistant(ThinkingBlock(content="a tool helps"), call_block)

    member = model(step)
    output = await FunctionAgent(tools=[FunctionTool.from_defaults(add)], llm=blend(member)).run("2 + 3?")
    assert output.response.content == "The sum is 5."
    assert [thoughts(message) for message in member.calls[-1].messages if message.role == "assistant"] == [[]]

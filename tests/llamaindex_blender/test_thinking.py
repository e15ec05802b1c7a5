"""What a member thinks is neither ranked nor fused; it stays with the message that is picked."""

from __future__ import annotations

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import FunctionTool

from blender_core.testing import FakeFuser, FakeRanker
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM
from llamaindex_blender.own_turns import MEMBER_KEY
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
    signature = (
        {"signature": "xyz"} if isinstance(given_message, ChatMessage) and len(given_message.blocks) == 2 else {}
    )
    assert thought == ThinkingBlock(content="It could be Rome.", additional_information={MEMBER_KEY: "m", **signature})
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


async def test_an_agent_gives_a_member_its_own_thoughts_back():
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
    assert [thoughts(message) for message in member.calls[-1].messages if message.role == "assistant"] == [
        ["a tool helps"]
    ]


def signed(content, signature, *blocks, **keywords):
    thought = ThinkingBlock(content=content, additional_information={"signature": signature, "id": content})
    return assistant(thought, *blocks, **keywords)


TEXT = TextBlock(text="Five.")
CALL = ToolCallBlock(tool_name="add", tool_kwargs={"a": 2, "b": 3}, tool_call_id="1")


def asked_to_add(llm, streamed):
    tool = FunctionTool.from_defaults(lambda a, b: a + b, name="add", description="Add.")
    if streamed:
        return list(llm.stream_chat_with_tools([tool], user_msg="2 + 3?"))[-1]
    return llm.chat_with_tools([tool], user_msg="2 + 3?")


@pytest.mark.parametrize("streamed", [False, True])
def test_each_member_gets_its_own_signed_thoughts_back(streamed):
    """The second member agrees on the call, the third is outvoted: it answers in text."""
    members = [
        model(signed("first", "s1", CALL, thought_signatures=["t1"]), "It is 5.", name="same"),
        model(signed("second", "s2", CALL.model_copy(update={"tool_call_id": "2"})), "5 it is, surely.", name="same"),
        model(signed("third", "s3", TextBlock(text="Five.")), "Five, as I said.", name="c"),
    ]
    llm = blend(*members, fuser=None)
    response = asked_to_add(llm, streamed)
    # a chat store keeps all that is needed
    message = ChatMessage.model_validate_json(response.message.model_dump_json())
    assert thoughts(message) == ["first"]
    result = ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": "1"})
    llm.chat([*QUESTION, message, result])
    first, second, third = (member.calls[-1].messages[1] for member in members)
    assert [block.additional_information.get("signature") for block in first.blocks[:1]] == ["s1"]
    assert first.additional_kwargs == {"thought_signatures": ["t1"]}
    assert [block.additional_information.get("signature") for block in second.blocks[:1]] == ["s2"]
    assert second.additional_kwargs == {}
    assert [block.additional_information.get("signature") for block in third.blocks[:1]] == ["s3"]
    for turn, others in ((first, ("s2", "s3")), (second, ("s1", "t1", "s3")), (third, ("s1", "t1", "s2"))):
        assert [block for block in turn.blocks if isinstance(block, ToolCallBlock)] == [CALL]
        assert not any(other in turn.model_dump_json() for other in others)


@pytest.mark.parametrize("streamed", [False, True])
def test_signatures_of_bytes_go_back_as_bytes_each_at_its_place(streamed):
    """Google's integration keeps bytes in thoughts, and in a keyword one entry a block."""
    mark = b"\xff\xfe\x80"
    steps = [
        ThinkingBlock(content="first", additional_information={"thought": True, "thought_signature": mark + b"1"}),
        TextBlock(text="I add."),
        ThinkingBlock(content="then", additional_information={"thought": True, "thought_signature": None}),
        CALL,
    ]
    written = assistant(*steps, thought_signatures=[mark + b"1", None, None, mark + b"2"])
    agrees = assistant(CALL.model_copy(update={"tool_call_id": "2"}), thought_signatures=[mark + b"3"])
    members = [model(written, "It is 5.", name="a"), model(agrees, "5 it is.", name="b")]
    llm = blend(*members, fuser=None)
    response = asked_to_add(llm, streamed)
    assert response.raw["blend"]["winner"] == "a"
    message = ChatMessage.model_validate_json(response.message.model_dump_json())
    llm.chat([*QUESTION, message, ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": "1"})])
    first, second = (member.calls[-1].messages[1] for member in members)
    assert first.blocks == steps
    assert first.additional_kwargs == written.additional_kwargs
    assert second.additional_kwargs == agrees.additional_kwargs
    # blocks that someone changed have no places of old
    changed = message.model_copy(deep=True)
    changed.blocks = [block for block in changed.blocks if not isinstance(block, TextBlock)]
    llm.chat([*QUESTION, changed, *QUESTION])
    assert members[0].calls[-1].messages[1].blocks == [steps[0], steps[2], CALL]


def test_an_llm_outside_of_the_blend_can_go_on_with_signed_thoughts():
    """Anthropic's integration sends each thought with its signature, and without one the call is refused."""
    written = [
        ThinkingBlock(content=word, additional_information={"signature": f"s {word}", "id": 1}) for word in ("a", "b")
    ]
    message = blend(model(assistant(written[0], TEXT, written[1]))).chat(QUESTION).message
    blocks = [block for block in message.blocks if isinstance(block, ThinkingBlock)]
    shown = [(block.content, block.additional_information["signature"]) for block in blocks]
    assert shown == [("a", "s a"), ("b", "s b")]
    # another member gets neither
    other = model("5", name="other")
    blend(other).chat([*QUESTION, message, *QUESTION])
    assert other.calls[0].messages[1].blocks == [TEXT]


def test_an_outvoted_member_gets_back_only_what_its_provider_signed():
    unsigned = ThinkingBlock(content="hm", additional_information={"id": "rs_1", "encrypted_content": "x"})
    members = [model(assistant(CALL), "5", name="a"), model(assistant(unsigned, TEXT), "5", name="b")]
    llm = blend(*members, fuser=None)
    tool = FunctionTool.from_defaults(lambda a, b: a + b, name="add", description="Add.")
    message = llm.chat_with_tools([tool], user_msg="2 + 3?").message
    llm.chat([*QUESTION, message, ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": "1"})])
    assert members[1].calls[-1].messages[1].blocks == [CALL]


@pytest.mark.parametrize("broken", [None, "x", {"same": "x"}, {"same": {"thoughts": ["x"], "keywords": 1}}])
def test_a_history_from_outside_may_hold_anything(broken):
    member = model("fine", name="same")
    turn = ChatMessage(role="assistant", content="Hi", additional_kwargs={"blend_own_turns": broken})
    assert blend(member).chat([*QUESTION, turn, *QUESTION]).message.content == "fine"
    assert member.calls[0].messages[1] == ChatMessage(role="assistant", content="Hi")


class Thinking(ScriptedLLM):
    """Streams its thoughts as ``OpenAILike`` does."""

    def _stream_chat(self, messages, **kwargs):
        *rest, last = super()._stream_chat(messages, **kwargs)
        for thought in ("Let me ", "see."):
            yield ChatResponse(message=assistant(), delta="", additional_kwargs={"thinking_delta": thought})
        yield from rest
        yield last

    async def _astream_chat(self, messages, **kwargs):
        async def pieces():
            for piece in self._stream_chat(messages, **kwargs):
                yield piece

        return pieces()


@pytest.mark.parametrize("settings", [{"fuse_when": "always", "fuser": None}, {"fuser": None, "fuse_when": "never"}])
async def test_thoughts_are_streamed_before_the_text(settings):
    answer = assistant(ThinkingBlock(content="Let me see."), TextBlock(text="It is Paris, of course."))
    members = [Thinking(script=[answer]), model("Rome")]
    if settings["fuse_when"] == "always":
        settings = {**settings, "fuser": Thinking(script=["It is Paris, of course."])}
    llm = blend(*members, **settings)
    for pieces in (list(llm.stream_chat(QUESTION)), [piece async for piece in await llm.astream_chat(QUESTION)]):
        told = [(piece.additional_kwargs.get("thinking_delta") or "", piece.delta) for piece in pieces]
        assert "".join(thought for thought, _ in told) == "Let me see."
        assert "".join(delta for _, delta in told) == "It is Paris, of course."
        assert told[0][0]
        assert thoughts(pieces[-1].message) == ["Let me see."]
    # the thoughts of a fusion belong to no turn of the conversation
    if settings["fuse_when"] == "always":
        llm.chat([*QUESTION, pieces[-1].message, *QUESTION])
        assert thoughts(members[0].calls[-1].messages[1]) == []


def test_a_message_without_blocks_reaches_a_member_as_it_is():
    llm = ScriptedLLM(script=["ok"])
    history = [ChatMessage(role="user", content="Hi"), ChatMessage(role="assistant", blocks=[])]
    BlendedLLM(llms=[llm], fuser=None).chat(history)
    assert [len(message.blocks) for message in llm.calls[0].messages] == [1, 0]

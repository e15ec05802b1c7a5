"""What a member thinks is neither ranked nor fused; it stays with the message that is picked."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk

from blender_core import OpenAIMember
from blender_core.testing import FakeFuser, FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM
from langchain_blender.testing import FakeChatModel

THOUGHT = "<think>It could be Rome, or Paris, or anything else.</think>\n\nParis"


def model(*script, name: str = "m") -> FakeChatModel:
    return FakeChatModel(script=list(script), model_name=name)


def blend(*members, **settings) -> BlendedLLM:
    return BlendedLLM(
        llms=list(members), **{"report": "full", "ranker": FakeRanker(), "fuser": FakeFuser("fused"), **settings}
    )


def test_what_was_thought_is_neither_ranked_nor_fused():
    ranker, fuser = FakeRanker(), FakeFuser("fused")
    llm = blend(model(THOUGHT), model("Rome, I am sure"), ranker=ranker, fuser=fuser, fuse_when="always")
    message = llm.invoke("Capital of France?")
    assert [candidate["text"] for candidate in message.response_metadata["blend"]["candidates"]] == [
        "Paris", "Rome, I am sure",
    ]  # fmt: skip
    # the ranker takes the longer text for the better
    assert message.response_metadata["blend"]["winner"] == "m#2"


def test_a_member_that_only_thinks_has_not_answered():
    message = blend(model("<think>so many capitals", name="thinker"), model("Paris", name="b")).invoke("Capital?")
    thinker, _ = message.response_metadata["blend"]["candidates"]
    assert message.text == "Paris"
    assert thinker["status"] == "error"
    assert "empty answer" in thinker["reason"]


def test_a_fuser_that_thinks_aloud_streams_its_answer_only():
    writer = model("<think>Both say Paris, so</think>\n\nParis it is, the city of light.")
    llm = blend(model("Paris"), model("It is Paris"), fuser=writer, fuse_when="always")
    assert "".join(chunk.text for chunk in llm.stream("Capital?")) == "Paris it is, the city of light."
    assert llm.invoke("Capital?").text == "Paris it is, the city of light."


def reasoning(message) -> list[str]:
    return [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"]


def streamed(llm, way: str) -> list:
    if way == "stream":
        return list(llm.stream("Capital?"))

    async def collected() -> list:
        return [chunk async for chunk in llm.astream("Capital?")]

    return asyncio.run(collected())


THINKING = [
    AIMessage([{"type": "reasoning", "reasoning": "Both say Paris."}, {"type": "text", "text": "Paris it is."}]),
    AIMessage("<think>Both say Paris.</think>Paris it is."),
]


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("given_message", THINKING, ids=["block", "tag"])
def test_what_the_fuser_thinks_streams_before_its_text(given_message, way):
    llm = blend(model("Paris"), model("It is Paris"), fuser=model(given_message), fuse_when="always")
    chunks = streamed(llm, way)
    first_text = next(place for place, chunk in enumerate(chunks) if chunk.text)
    assert "".join(piece for chunk in chunks[:first_text] for piece in reasoning(chunk)) == "Both say Paris."
    for message in (chunks[0] + chunks[1:], llm.invoke("Capital?")):
        assert (reasoning(message), message.text) == (["Both say Paris."], "Paris it is.")
        assert message.response_metadata["blend_own_turns"] == {}


def test_thoughts_stream_piece_by_piece():
    with ScriptedServer({"m": Reply("Paris it is.", thoughts="Both of them say Paris, so")}) as server:
        writer = OpenAIMember("m", base_url=server.base_url)
        chunks = list(blend(model("Paris"), model("It is"), fuser=writer, fuse_when="always").stream("Capital?"))
    assert sum(bool(reasoning(chunk)) for chunk in chunks) > 2
    assert reasoning(chunks[0] + chunks[1:]) == ["Both of them say Paris, so"]


def test_thoughts_of_a_refused_fusion_are_not_those_of_the_answer():
    writer = model(AIMessage("<think>No.</think>I cannot help with that request, because it is against my rules."))
    picked = AIMessage("It is Paris", additional_kwargs={"reasoning_content": "It could be Rome."})
    llm = blend(model("Paris"), model(picked), fuser=writer, fuse_when="always")
    chunks = list(llm.stream("Capital?"))
    message = chunks[0] + chunks[1:]
    assert message.response_metadata["blend"]["fusion_refused"]
    assert (message.text, reasoning(message)) == ("It is Paris", ["No.\n\nIt could be Rome."])
    assert reasoning(llm.invoke("Capital?")) == ["It could be Rome."]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "given_message",
    [
        AIMessage("Paris", additional_kwargs={"reasoning_content": "It could be Rome."}),
        AIMessage("<think>It could be Rome.</think>Paris"),
        AIMessage([{"type": "reasoning", "reasoning": "It could be Rome."}, {"type": "text", "text": "Paris"}]),
    ],
    ids=["keyword", "tag", "block"],
)
def test_a_picked_message_keeps_its_reasoning(given_message, streamed):
    llm = blend(model(given_message))
    if streamed:
        chunks = list(llm.stream("Capital?"))
        message = chunks[0] + chunks[1:]
    else:
        message = llm.invoke("Capital?")
    assert message.text == "Paris"
    assert reasoning(message) == ["It could be Rome."]
    assert "blend_own_turns" in message.response_metadata


def test_a_fused_text_has_no_thoughts_of_members():
    one = AIMessage("Paris", additional_kwargs={"reasoning_content": "hm"})
    message = blend(model(one), model("It is Paris"), fuse_when="always").invoke("Capital?")
    assert message.text == "fused"
    assert message.additional_kwargs == {}


@pytest.mark.parametrize("mark", [0, 1], ids=["with report", "without"])
def test_reasoning_of_one_member_is_not_sent_to_the_others(mark):
    member = model("And Rome is Italy's.")
    blocks = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Paris"}]
    made = {"response_metadata": {key: {} for key in ["blend", "blend_own_turns"][mark:]}}
    history = [
        HumanMessage("Capital of France?"),
        AIMessage(blocks, **made),
        AIMessage("Paris", additional_kwargs={"reasoning_content": "hm"}, **made),
        AIMessage(blocks),
        HumanMessage("And of Italy?"),
    ]
    blend(member).invoke(history)
    _, picked, keyword, foreign, _ = member.calls[0].messages
    assert picked.content == blocks[1:]
    assert keyword.additional_kwargs == {}
    assert foreign.content == blocks
    assert len(history[1].content) == 2


class Summarising(FakeChatModel):
    """Streams what it thinks as the parts of a summary, as a provider does."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for index, word in [(0, "Both "), (0, "say Paris."), (1, "So "), (1, "do I.")]:
            block = {"type": "reasoning", "reasoning": word, "index": index}
            yield ChatGenerationChunk(message=AIMessageChunk(content=[block]))
        yield ChatGenerationChunk(
            message=AIMessageChunk(content=[{"type": "text", "text": "Paris it is.", "index": 2}])
        )


def test_parts_of_a_summary_stay_apart_in_a_stream():
    chunks = list(blend(model("Paris"), model("It is"), fuser=Summarising(), fuse_when="always").stream("Capital?"))
    message = chunks[0] + chunks[1:]
    assert (reasoning(message), message.text) == (["Both say Paris.\n\nSo do I."], "Paris it is.")

"""What streams, and what is said when a stream has to change its mind."""

from __future__ import annotations

import pytest

from blender_core.fuse.guard import FusionGuard
from blender_core.testing import FakeFuser, FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.testing import FakeChatModel

PARTIAL = " ".join(f"word{number}" for number in range(30))


def blend(**settings) -> BlendedLLM:
    members = [FakeChatModel(script=[text], model_name=text) for text in ("a short one", "the best answer of all")]
    return BlendedLLM(llms=members, **{"report": "full", "ranker": FakeRanker(), "fuse_when": "always", **settings})


def joined(chunks):
    return chunks[0] + chunks[1:]


def test_the_fusion_streams_as_it_is_written():
    chunks = list(blend(fuser=FakeFuser(PARTIAL)).stream("Hi"))
    assert "".join(chunk.text for chunk in chunks) == PARTIAL
    assert len(chunks) > 10
    assert joined(chunks).response_metadata["blend"]["text"] == PARTIAL


def test_usage_and_metadata_stand_on_the_last_chunk_only():
    *before, last = blend(fuser=FakeFuser(PARTIAL)).stream("Hi")
    assert last.chunk_position == "last"
    assert last.usage_metadata
    assert all(chunk.usage_metadata is None and not chunk.response_metadata for chunk in before)


def test_a_fusion_that_fails_midway_is_followed_by_the_best_answer():
    llm = blend(fuser=FakeFuser(PARTIAL, error=ValueError("broken pipe"), fail_after=25))
    total = joined(list(llm.stream("Hi")))
    sent, answer = total.text.split("\n\n")
    assert PARTIAL.startswith(sent.strip())
    assert answer == "the best answer of all"
    blended = total.response_metadata["blend"]
    assert blended["text"] == answer
    assert blended["rejected_characters"] == len(sent)
    assert "broken pipe" in blended["degraded_reasons"][0]


def test_a_fusion_that_is_refused_before_anything_is_sent_leaves_no_trace_in_the_text():
    llm = blend(fuser=FakeFuser("I'm sorry, I cannot do that."), guard=FusionGuard())
    total = joined(list(llm.stream("Hi")))
    assert total.text == "the best answer of all"
    assert total.response_metadata["blend"]["rejected_characters"] == 0
    report = total.response_metadata["blend"]
    assert "refusal" in report["fusion_refused"]
    assert not report["degraded"]


def test_the_default_fuser_streams_the_member_that_was_given_first():
    members = [
        FakeChatModel(script=["a short one", "fused word by word"], model_name="a"),
        FakeChatModel(script=["the best answer of all"], model_name="b"),
    ]
    llm = BlendedLLM(llms=members, ranker=FakeRanker(), fuse_when="always")
    assert "".join(chunk.text for chunk in llm.stream("Hi")) == "fused word by word"
    assert members[0].calls[-1].streamed


@pytest.mark.parametrize("stop", ["END", "a long stop sequence"])
async def test_a_stop_sequence_in_several_pieces_is_found(stop):
    text = f"before {stop} after"
    llm = blend(fuser=FakeFuser(text), stop=[stop])
    assert "".join(chunk.text for chunk in llm.stream("Hi")) == "before "
    assert "".join([chunk.text async for chunk in llm.astream("Hi")]) == "before "


def test_text_that_looks_like_the_beginning_of_a_stop_sequence_is_sent_at_the_end():
    llm = blend(fuser=FakeFuser("this is the EN"), stop=["END"])
    assert "".join(chunk.text for chunk in llm.stream("Hi")) == "this is the EN"


@pytest.mark.parametrize("output_version", ["v0", "v1"])
async def test_async_and_sync_streams_agree(output_version):
    llm = blend(fuser=FakeFuser(PARTIAL), output_version=output_version)
    one = joined(list(llm.stream("Hi")))
    other = joined([chunk async for chunk in llm.astream("Hi")])
    assert one.text == other.text == PARTIAL
    assert one.content_blocks == [{"type": "text", "text": PARTIAL, **({"index": 0} if output_version == "v1" else {})}]


@pytest.mark.filterwarnings("ignore:.*in beta")
def test_typed_events_carry_text_and_metadata():
    stream = blend(fuser=FakeFuser(PARTIAL)).stream_events("Hi", version="v3")
    assert "".join(stream.text) == PARTIAL
    assert stream.output.response_metadata["blend"]["fused"]


def test_streaming_can_be_switched_off():
    assert len(list(blend(fuser=FakeFuser(PARTIAL), disable_streaming=True).stream("Hi"))) == 1


@pytest.mark.parametrize("option", [{"stream_usage": True}, {"stream_options": {"include_usage": True}}])
def test_what_only_a_stream_may_be_asked_for_does_not_reach_members(option):
    member = FakeChatModel(script=["the answer"])
    llm = BlendedLLM(llms=[member])
    assert joined(list(llm.stream("Hi", **option))).text == llm.bind(**option).invoke("Hi").text == "the answer"
    assert [call.options.keys() & option.keys() for call in member.calls] == [set(), set()]

"""An engine as a member: what it is asked itself, and what goes to the LLM behind it."""

import pytest

from blender_core.errors import MemberError
from blender_core.events import Token
from blender_core.rag import GroundedBlender, GroundedCandidate, Source, SourcedMember
from blender_core.testing import FakeMember
from blender_core.types.answer import Answer
from blender_core.types.prompt import Message, Prompt

FUSION = Prompt((Message("user", "Fuse."),), purpose="fuse")
SOURCE = Source("The server listens on port 8080 of every interface, as long as no host is set.")
# long enough for the guard to let the first words through before the last ones
FUSED = "The server listens on port 8080 of every interface. " * 2 + "As long as no host is set, it listens there."


def engine(name: str = "engine", answer: str = "Port 8080 [1].", llm: object = None) -> SourcedMember:
    return SourcedMember(name, lambda prompt: GroundedCandidate(answer, (SOURCE,)), llm=llm)


async def streamed(member: SourcedMember, prompt: Prompt, way: str) -> list[str | Answer]:
    if way == "stream":
        return list(member.stream(prompt))
    return [item async for item in member.astream(prompt)]


both_ways = pytest.mark.parametrize("way", ["stream", "astream"])


@both_ways
async def test_a_fusion_streams_from_the_llm_behind_the_engine(way):
    *words, answer = await streamed(engine(llm=FakeMember("llm", "one two three")), FUSION, way)
    assert len(words) > 1
    assert "".join(words) == answer.text == "one two three"


@both_ways
async def test_an_answer_comes_whole_with_its_sources(way):
    text, answer = await streamed(engine(llm=FakeMember("llm", "unused")), Prompt.of("Which port?"), way)
    assert text == answer.text == "Port 8080 [1]."
    assert answer.native.sources == (SOURCE,)


@both_ways
async def test_without_an_llm_a_fusion_is_refused(way):
    with pytest.raises(MemberError, match="no LLM that could fuse"):
        await streamed(engine(), FUSION, way)


@both_ways
async def test_the_fusion_of_a_streamed_blend_comes_in_pieces(way):
    blender = GroundedBlender(
        [
            engine("a", "It listens on port 8080 of every interface.", FakeMember("llm", FUSED)),
            engine("b", "Port 8080, as long as no host is set.", FakeMember("llm", FUSED)),
        ],
        ranker="consensus",
        fuse_when="always",
    )
    if way == "stream":
        events = list(blender.stream("Which port?"))
    else:
        events = [event async for event in blender.astream("Which port?")]
    pieces = [event.text for event in events if isinstance(event, Token) and event.text]
    assert "".join(pieces) == events[-1].result.text == FUSED
    assert events[-1].result.fused
    assert len(pieces) > 3

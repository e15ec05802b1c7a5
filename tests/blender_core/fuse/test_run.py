"""Running a fuser: which texts are refused, and what is left behind."""

import asyncio
import gc

import pytest

from blender_core import Answer, Blender, LLMFuser
from blender_core.events import Finished, FusionRejected, Token
from blender_core.fuse import FusedText, FusionInput
from blender_core.rank import LexicalConsensusRanker
from blender_core.testing import FakeFuser, FakeMember, FakeRanker

BEST = "The sky is blue since air scatters blue light far more than red light."
OTHER = "Blue light is scattered the most of all colours."
CUT = "The sky is blue since air scatters the short"


def blender(*answers, fuser):
    members = [FakeMember(f"m{place}", answer) for place, answer in enumerate(answers)]
    return Blender(members, ranker=FakeRanker(temperature=1000), fuser=fuser, fuse_when="always")


def writer(text, finish_reason):
    return LLMFuser(FakeMember("w", Answer(text, finish_reason=finish_reason)))


async def last_of(stream):
    return [event async for event in stream][-1].result


CALLS = {
    "blend": lambda blend: blend.blend("Why?"),
    "ablend": lambda blend: asyncio.run(blend.ablend("Why?")),
    "stream": lambda blend: list(blend.stream("Why?"))[-1].result,
    "astream": lambda blend: asyncio.run(last_of(blend.astream("Why?"))),
}


def every_call(function):
    return pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)(function)


# -- texts that were cut off ------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize(
    "reason",
    ["length", "max_tokens", "MAX_TOKENS", "FinishReason.MAX_TOKENS", "max_output_tokens", "model_length"],
)
def test_a_fused_text_that_was_cut_off_is_refused(call, reason):
    result = call(blender(BEST, OTHER, fuser=writer(CUT, reason)))
    assert (result.text, result.winner, result.fused) == (BEST, "m0", ())
    assert result.degraded == ()
    assert "cut off" in result.fusion_refused
    assert reason in result.fusion_refused
    assert result.finish_reason == "stop"


@every_call
@pytest.mark.parametrize("reason", ["stop", "end_turn", "STOP", "", None])
def test_a_fused_text_that_ended_by_itself_is_kept(call, reason):
    result = call(blender(BEST, OTHER, fuser=writer("Air scatters blue light.", reason)))
    assert (result.text, result.degraded) == ("Air scatters blue light.", ())
    assert result.finish_reason == reason


@every_call
def test_where_all_answers_were_cut_off_the_fused_text_may_be_too(call):
    cut = [Answer(text, finish_reason="MAX_TOKENS") for text in (BEST, OTHER)]
    result = call(blender(*cut, fuser=writer(CUT, "length")))
    assert (result.text, result.degraded, result.finish_reason) == (CUT, (), "length")
    assert result.to_dict()["finish_reason"] == "length"


def test_a_picked_answer_keeps_its_own_finish_reason():
    assert blender(Answer(BEST, finish_reason="length"), fuser=None).blend("Why?").finish_reason == "length"


def test_what_was_sent_of_a_text_that_was_cut_off_is_counted():
    events = list(blender(BEST, OTHER, fuser=writer(" ".join(f"word{n}" for n in range(60)), "length")).stream("Why?"))
    rejected = next(event for event in events if isinstance(event, FusionRejected))
    place = events.index(rejected)
    sent = "".join(event.text for event in events[:place] if isinstance(event, Token))
    assert rejected.streamed == len(sent) > 0
    assert "".join(event.text for event in events[place:] if isinstance(event, Token)) == BEST


def test_fused_texts_carry_the_finish_reason():
    fuser = writer(CUT, "length")
    request = FusionInput("Why?", (BEST, OTHER))
    assert fuser.fuse(request).finish_reason == "length"
    assert list(fuser.stream(request))[-1].finish_reason == "length"
    assert FusedText("text", "fuser").finish_reason is None


# -- answers without text ---------------------------------------------------------------------------------


def picture(text=""):
    return Answer(text, finish_reason="stop", has_other_content=True)


@every_call
@pytest.mark.parametrize("ranker", [FakeRanker(lambda text: -len(text)), "longest", "random", LexicalConsensusRanker()])
def test_an_answer_without_text_ranks_last_and_is_not_fused(call, ranker):
    members = [FakeMember("p", picture()), FakeMember("a", BEST), FakeMember("b", OTHER)]
    seen = []

    def fuse(request):
        seen.append(request.candidates)
        return "Air scatters blue light."

    result = call(Blender(members, ranker=ranker, fuser=FakeFuser(fuse), fuse_when="always"))
    assert result.text == "Air scatters blue light."
    assert set(seen[0]) == {BEST, OTHER}
    assert result.candidates[0].rank == 3
    assert result.degraded == ()


@every_call
@pytest.mark.parametrize("count", [1, 3])
def test_answers_without_text_win_where_there_is_no_other(call, count):
    result = call(blender(*(picture(" ") for _ in range(count)), fuser=FakeFuser()))
    assert result.answer.has_other_content
    assert (result.winner, result.fused, result.degraded) == ("m0", (), ())


def test_the_one_answer_with_text_wins_over_pictures():
    result = blender(picture(), picture(), BEST, fuser=FakeFuser()).blend("Why?")
    assert (result.text, result.winner, result.degraded) == (BEST, "m2", ())


# -- what is left behind ----------------------------------------------------------------------------------


async def test_leaving_a_stream_when_its_fusion_has_just_failed_leaves_no_warning():
    class Sudden(FakeFuser):
        async def astream(self, request):
            yield " ".join(f"word{n}" for n in range(60))
            raise ValueError("gone")

    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context["message"]))
    stream = blender(BEST, OTHER, fuser=Sudden()).astream("Why?")
    async for event in stream:
        if isinstance(event, Token):
            break
    await stream.aclose()
    gc.collect()
    await asyncio.sleep(0)
    assert said == []


@pytest.mark.parametrize("error", [GeneratorExit(), StopIteration()])
def test_what_a_fuser_raises_in_its_thread_stays_there(error):
    blend = blender(BEST, OTHER, fuser=LLMFuser(FakeMember("w", error)))
    whole, streamed = blend.blend("Why?"), list(blend.stream("Why?"))[-1]
    assert isinstance(streamed, Finished)
    for result in (whole, streamed.result):
        assert result.text == BEST
        assert type(error).__name__ in result.degraded[0]


# -- how much of a stream is held back -----------------------------------------------------------------------


def sent(fuser_text):
    """The pieces that a stream sent, and its events, if the fuser writes word by word."""
    events = list(blender(BEST, OTHER, fuser=LLMFuser(FakeMember("w", fuser_text))).stream("Why?"))
    return [event.text for event in events if isinstance(event, Token)], events


@pytest.mark.parametrize(
    "text", ["Air scatters the blue part of the light most.", "Blue light is scattered the most by all the air above."]
)
def test_a_fused_text_is_sent_from_its_first_words_on(text):
    pieces, _ = sent(text)
    assert "".join(pieces) == text
    assert len(pieces[0]) < 36
    assert len(pieces) > 2


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that request about the colour of the sky.",
        "I will not merge these answers, since that is not what I am here for at all.",
        "Tut mir leid, dabei kann ich Ihnen leider heute wirklich nicht helfen.",
        "Je ne peux malheureusement pas vous aider avec cette demande sur le ciel.",
        "Lo siento, pero no puedo ayudar con esta pregunta sobre el color del cielo.",
        "Here is the final answer, which is made of what candidate 1 and candidate 2 said.",
        "The merged answer of both candidates is that air scatters the blue light most.",
    ],
)
def test_nothing_is_sent_of_a_fused_text_whose_first_words_may_be_refused(text):
    pieces, events = sent(text)
    rejected = next(event for event in events if isinstance(event, FusionRejected))
    assert rejected.streamed == 0
    assert "".join(pieces) == BEST


def test_a_text_that_begins_like_a_refusal_and_is_none_arrives_whole():
    text = (
        "I see the sky as blue, because air scatters the short waves of light far more than it does the long ones, " * 2
    )
    pieces, _ = sent(text)
    assert "".join(pieces) == text
    assert len(pieces[0]) >= 120

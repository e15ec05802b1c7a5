"""LLMs that have only some of the eight methods themselves are asked through those."""

import asyncio
import functools
import threading

import pytest
from llama_index.core.llms import ChatMessage, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from pydantic import Field

from blender_core.testing import FakeRanker
from llamaindex_blender import BlendedLLM, LlamaIndexMember
from llamaindex_blender.rag import BlendedSynthesizer
from llamaindex_blender.testing import ScriptedLLM


class Base(CustomLLM):
    threads: list[int] = Field(default_factory=list)
    used: list[str] = Field(default_factory=list)

    @property
    def metadata(self):
        return LLMMetadata(model_name="custom")

    def complete(self, prompt, formatted=False, **kwargs):
        raise NotImplementedError("asynchronous only")

    def stream_complete(self, prompt, formatted=False, **kwargs):
        raise NotImplementedError("asynchronous only")

    def note(self, name):
        self.threads.append(threading.get_ident())
        self.used.append(name)


class Awaited(Base):
    """Its completion is asynchronous; it cannot stream."""

    @llm_completion_callback()
    async def acomplete(self, prompt, formatted=False, **kwargs):
        await asyncio.sleep(0)
        self.note("acomplete")
        return CompletionResponse(text=f"From the loop, {kwargs.get('temperature')}.")


class Computing(Base):
    """Its completion is asynchronous in name only."""

    @llm_completion_callback()
    async def acomplete(self, prompt, formatted=False, **kwargs):
        self.note("acomplete")
        return CompletionResponse(text=f"From the loop, {kwargs.get('temperature')}.")


class AwaitedStream(Awaited):
    @llm_completion_callback()
    async def astream_complete(self, prompt, formatted=False, **kwargs):
        async def pieces():
            text = ""
            for word in ("Streamed ", "from ", "the loop."):
                await asyncio.sleep(0)
                text += word
                yield CompletionResponse(text=text, delta=word)
            self.note("astream_complete")

        return pieces()


class Both(Awaited):
    """Has a synchronous completion too."""

    def complete(self, prompt, formatted=False, **kwargs):
        self.note("complete")
        return CompletionResponse(text="From a thread.")


class Traced:
    """A decorator that is an object, as some tracers write them."""

    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self.__wrapped__, instance)


class Decorated(Base):
    """Its completion has such a decorator."""


Decorated.acomplete = Traced(Awaited.acomplete)


class ChatOnly(ScriptedLLM):
    """Its chat is asynchronous only."""

    def _chat(self, messages, **kwargs):
        raise NotImplementedError("asynchronous only")

    def _stream_chat(self, messages, **kwargs):
        raise NotImplementedError("asynchronous only")


ASK = [ChatMessage(role="user", content="Why?")]


def blend(*llms, **settings):
    return BlendedLLM(llms=list(llms), **{"ranker": FakeRanker(), "fuser": None, **settings})


@pytest.mark.parametrize("kind", [Awaited, AwaitedStream, Both, Decorated])
async def test_its_own_acomplete_is_awaited_on_the_loop(kind):
    llm = kind()
    response = await blend(llm).achat(ASK, temperature=0.5)
    assert response.message.content == "From the loop, 0.5."
    assert llm.used == ["acomplete"]
    assert llm.threads == [threading.get_ident()]


def test_a_synchronous_call_prefers_the_synchronous_method():
    llm = Both()
    assert blend(llm).chat(ASK).message.content == "From a thread."
    assert llm.used == ["complete"]


@pytest.mark.parametrize(
    "llm",
    [Awaited(), Computing(), ChatOnly(script=["From the loop, None."])],
    ids=["complete", "complete without an await", "chat"],
)
def test_an_llm_with_asynchronous_methods_only_answers_every_call(llm):
    blended = blend(llm)
    assert blended.complete("Why?").text == "From the loop, None."
    assert list(blended.stream_chat(ASK))[-1].message.content == "From the loop, None."
    assert asyncio.run(blended.acomplete("Why?")).text == "From the loop, None."


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (AwaitedStream, "Streamed from the loop."),
        (Awaited, "From the loop, None."),
        (Computing, "From the loop, None."),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_it_streams_a_fusion_or_gives_it_whole(kind, text, asynchronous):
    writer = kind()
    members = [ScriptedLLM(script=["One."], model="a"), ScriptedLLM(script=["One, two."], model="b")]
    blended = blend(*members, fuser=writer, fuse_when="always")

    async def streamed():
        return [piece async for piece in await blended.astream_chat(ASK)]

    pieces = asyncio.run(streamed()) if asynchronous else list(blended.stream_chat(ASK))
    assert "".join(piece.delta for piece in pieces) == text
    assert pieces[-1].raw["blend"]["fused"]
    # its connections belong to the loop of the call
    if asynchronous:
        assert (writer.threads == [threading.get_ident()]) is (kind is not Computing)


def test_a_failure_in_mid_stream_is_no_missing_method():
    class Broken(ScriptedLLM):
        def _stream_chat(self, messages, **kwargs):
            def pieces():
                yield from super(Broken, self)._stream_chat(messages, **kwargs)
                raise NotImplementedError("in mid-stream")

            return pieces()

    from blender_core.types.prompt import Prompt

    with pytest.raises(NotImplementedError, match="in mid-stream"):
        list(LlamaIndexMember(Broken()).stream(Prompt.of("Why?")))


async def test_a_synthesizer_awaits_it_too():
    llm = Both()
    response = await BlendedSynthesizer([llm], fuser=None).aget_response("Why?", ["Because."])
    assert str(response) == "From the loop, None."
    assert llm.threads == [threading.get_ident()]

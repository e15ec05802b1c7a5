"""What every LLM does: answer prompts and conversations, whole and in pieces, blocking and not."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate

__all__ = ["CallConformance"]

# a PNG of one pixel
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc33"
    "0000000049454e44ae426082"
)


class CallConformance:
    """Calls, streams, prompts and copies; see ``LLMConformance``."""

    supports_images: bool = True
    survives_pickle: bool = True
    concurrent_calls: int = 8

    def make_llm(self) -> LLM:
        """Make the LLM under test. To be written."""
        raise NotImplementedError("write make_llm() -> LLM in your test class")

    @pytest.fixture
    def llm(self) -> LLM:
        """The LLM under test."""
        return self.make_llm()

    def conversation(self) -> list[ChatMessage]:
        """Turns that every LLM understands."""
        return [
            ChatMessage(role=MessageRole.SYSTEM, content="You are brief."),
            ChatMessage(role=MessageRole.USER, content="Say hello to Zoë."),
            ChatMessage(role=MessageRole.ASSISTANT, content="Hello Zoë."),
            ChatMessage(role=MessageRole.USER, content="Now say goodbye to her."),
        ]

    # -- what it says about itself -----------------------------------------------------------------------

    def test_metadata(self, llm: LLM) -> None:
        """Metadata is complete and the same each time."""
        metadata = llm.metadata
        assert isinstance(metadata, LLMMetadata)
        assert metadata.context_window > 0
        assert isinstance(metadata.model_name, str)
        assert llm.metadata == metadata

    def test_class_name_and_dict(self, llm: LLM) -> None:
        """The serialised form names the class."""
        assert llm.class_name()
        assert llm.to_dict()["class_name"] == llm.class_name()

    def test_payload_for_observability(self, llm: LLM) -> None:
        """The payload of events names class and model."""
        payload = llm.to_payload()
        assert payload["class_name"] == llm.class_name()
        assert payload["model_name"] == llm.metadata.model_name
        assert "api_key" not in payload

    # -- calls -------------------------------------------------------------------------------------------

    def test_complete(self, llm: LLM) -> None:
        """A prompt is answered in text."""
        response = llm.complete("Say hello.")
        assert isinstance(response, CompletionResponse)
        assert response.text

    def test_acomplete(self, llm: LLM) -> None:
        """The same, asynchronously."""
        response = asyncio.run(llm.acomplete("Say hello."))
        assert isinstance(response, CompletionResponse)
        assert response.text

    def test_complete_by_keyword(self, llm: LLM) -> None:
        """The prompt may be given by name, formatted already."""
        assert llm.complete(prompt="Say hello.", formatted=True).text

    def test_chat(self, llm: LLM) -> None:
        """A conversation is answered by the assistant."""
        _is_answer(llm.chat(self.conversation()))

    def test_achat(self, llm: LLM) -> None:
        """The same, asynchronously."""
        _is_answer(asyncio.run(llm.achat(self.conversation())))

    def test_chat_leaves_its_input_alone(self, llm: LLM) -> None:
        """Messages are the caller's."""
        messages = self.conversation()
        before = copy.deepcopy(messages)
        llm.chat(messages)
        assert messages == before

    def test_stream_complete(self, llm: LLM) -> None:
        """Pieces add up to the text."""
        _adds_up([(piece.delta, piece.text) for piece in llm.stream_complete("Say hello.")])

    def test_astream_complete(self, llm: LLM) -> None:
        """The same, asynchronously."""

        async def collect() -> list[Any]:
            return await _collected(await llm.astream_complete("Say hello."))

        _adds_up([(piece.delta, piece.text) for piece in asyncio.run(collect())])

    def test_stream_chat(self, llm: LLM) -> None:
        """Pieces add up to the message."""
        pieces = list(llm.stream_chat(self.conversation()))
        assert pieces[-1].message.role == MessageRole.ASSISTANT
        _adds_up([(piece.delta, piece.message.content) for piece in pieces])

    def test_astream_chat(self, llm: LLM) -> None:
        """The same, asynchronously."""

        async def collect() -> list[Any]:
            return await _collected(await llm.astream_chat(self.conversation()))

        pieces = asyncio.run(collect())
        assert pieces[-1].message.role == MessageRole.ASSISTANT
        _adds_up([(piece.delta, piece.message.content) for piece in pieces])

    def test_a_stream_can_be_left(self, llm: LLM) -> None:
        """After the first piece the rest need not be read, and the LLM still answers."""
        stream = llm.stream_chat(self.conversation())
        next(stream)
        stream.close()
        _is_answer(llm.chat(self.conversation()))

    def test_blocks(self, llm: LLM) -> None:
        """A message may have several blocks of text."""
        blocks = [TextBlock(text="Say hello."), TextBlock(text="Be brief.")]
        _is_answer(llm.chat([ChatMessage(role=MessageRole.USER, blocks=blocks)]))

    def test_images(self, llm: LLM) -> None:
        """An image beside the text is taken."""
        if not self.supports_images:
            pytest.skip("supports_images is False")
        blocks = [TextBlock(text="What is this?"), ImageBlock(image=_PIXEL)]
        message = ChatMessage(role=MessageRole.USER, blocks=blocks)
        before = message.model_dump()
        _is_answer(llm.chat([message]))
        assert message.model_dump() == before

    # -- prompts -----------------------------------------------------------------------------------------

    def test_predict(self, llm: LLM) -> None:
        """A template is filled in and answered in text."""
        assert llm.predict(PromptTemplate("Say hello to {name}."), name="Zoë")
        assert asyncio.run(llm.apredict(PromptTemplate("Say hello to {name}."), name="Zoë"))

    def test_predict_with_chat_template(self, llm: LLM) -> None:
        """So is a template of messages."""
        template = ChatPromptTemplate(message_templates=self.conversation())
        assert llm.predict(template)

    def test_stream_prompt(self, llm: LLM) -> None:
        """A template's answer comes in tokens."""

        async def collect() -> list[Any]:
            return await _collected(await llm.astream(PromptTemplate("Say hello to {name}."), name="Zoë"))

        assert "".join(llm.stream(PromptTemplate("Say hello to {name}."), name="Zoë"))
        assert "".join(asyncio.run(collect()))

    # -- use ---------------------------------------------------------------------------------------------

    def test_threads(self, llm: LLM) -> None:
        """One object serves several threads."""
        with ThreadPoolExecutor(self.concurrent_calls) as pool:
            for response in pool.map(llm.chat, [self.conversation()] * self.concurrent_calls):
                _is_answer(response)

    def test_tasks(self, llm: LLM) -> None:
        """One object serves several tasks, and then another event loop."""

        async def together() -> list[ChatResponse]:
            return await asyncio.gather(*(llm.achat(self.conversation()) for _ in range(self.concurrent_calls)))

        for _ in range(2):
            for response in asyncio.run(together()):
                _is_answer(response)

    def test_chat_inside_an_event_loop(self, llm: LLM) -> None:
        """The blocking call works in a notebook."""

        async def notebook() -> ChatResponse:
            return llm.chat(self.conversation())

        _is_answer(asyncio.run(notebook()))

    def test_deepcopy(self, llm: LLM) -> None:
        """A copy answers."""
        _is_answer(copy.deepcopy(llm).chat(self.conversation()))

    def test_pickle(self, llm: LLM) -> None:
        """So does one out of a pickle."""
        if not self.survives_pickle:
            pytest.skip("survives_pickle is False")
        loaded = pickle.loads(pickle.dumps(llm))
        assert loaded.metadata == llm.metadata
        _is_answer(loaded.chat(self.conversation()))


def _is_answer(response: ChatResponse) -> None:
    assert isinstance(response, ChatResponse)
    assert response.message.role == MessageRole.ASSISTANT
    assert response.message.content


def _adds_up(pieces: Iterable[tuple[str | None, str | None]]) -> None:
    """The deltas make up the text that the last piece holds."""
    deltas, texts = zip(*pieces, strict=True)
    assert "".join(delta or "" for delta in deltas) == texts[-1]
    assert texts[-1]


async def _collected(stream: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in stream]

"""Ask an LLM through the methods that it has itself: chat or completion, synchronous or asynchronous."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.generic_utils import (
    astream_completion_response_to_chat_response,
    completion_response_to_chat_response,
)
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.llm import LLM

from llamaindex_blender.blocking import blocks_event_loop, is_of_custom_llm

__all__ = ["AsynchronousWays"]


class AsynchronousWays:
    """Asks an LLM on the event loop, if it has a method that does not block it.

    ``achat`` and ``astream_chat`` of ``CustomLLM`` call synchronous methods. If a subclass has written ``acomplete`` or
    ``astream_complete`` itself, that is awaited instead.

    Args:
        llm: The LLM.

    Attributes:
        answers: The method that answers whole without blocking; ``None`` if none does.
        streams: The method that streams without blocking; ``None`` if none does.
        completes: Whether the LLM has an ``acomplete`` of its own, which may block.
    """

    def __init__(self, llm: BaseLLM) -> None:
        self.llm = llm
        self.answers = _way(llm, "achat", "acomplete")
        self.streams = _way(llm, "astream_chat", "astream_complete")
        self.completes = _has_own(llm, "achat", "acomplete")

    async def answer(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> ChatResponse:
        """Answer a conversation."""
        if self.answers == "achat":
            return await self.llm.achat(messages, **options)
        prompt = self._completing().messages_to_prompt(messages)  # type: ignore[misc]
        response = await self._completing().acomplete(prompt, formatted=True, **options)
        return completion_response_to_chat_response(response)

    async def stream(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> AsyncIterator[ChatResponse]:
        """Answer a conversation in pieces."""
        if self.streams == "astream_chat":
            pieces = await self.llm.astream_chat(messages, **options)
        else:
            prompt = self._completing().messages_to_prompt(messages)  # type: ignore[misc]
            pieces = astream_completion_response_to_chat_response(
                await self._completing().astream_complete(prompt, formatted=True, **options)
            )
        async for piece in pieces:
            yield piece

    def _completing(self) -> LLM:
        return cast(LLM, self.llm)


def _way(llm: BaseLLM, chat: str, completion: str) -> str | None:
    if not blocks_event_loop(llm, chat):
        return chat
    return completion if _has_own(llm, chat, completion) and not blocks_event_loop(llm, completion) else None


def _has_own(llm: BaseLLM, chat: str, completion: str) -> bool:
    return isinstance(llm, LLM) and is_of_custom_llm(llm, chat) and not is_of_custom_llm(llm, completion)

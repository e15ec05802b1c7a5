"""LlamaIndex LLMs as members of an ensemble."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM

from blender_core.answer import Answer, Price, Usage
from blender_core.errors import MemberError
from blender_core.members.member import Member
from blender_core.prompt import Prompt

__all__ = ["LlamaIndexMember", "adapt"]

_KNOWN_OPTIONS = ("max_tokens", "stop", "temperature")


def adapt(llm: Any) -> Member:
    """Make a member of a LlamaIndex LLM; the engine finds this function by its entry point.

    Args:
        llm: Any object.

    Returns:
        The member, or ``NotImplemented`` where it is no LlamaIndex LLM.
    """
    return LlamaIndexMember(llm) if isinstance(llm, BaseLLM) else NotImplemented


class LlamaIndexMember(Member):
    """Asks a LlamaIndex LLM through its chat methods. Takes no part in calls with tools.

    Args:
        llm: The LLM.
        name: Shown in results; default is the model's name, else the class's.
        price: What its tokens cost, where cost matters.

    Example:
        >>> from llama_index.core.llms import MockLLM
        >>> LlamaIndexMember(MockLLM(max_tokens=2), name="mock").generate(Prompt.of("one two three")).text
        'text text'
    """

    def __init__(self, llm: BaseLLM, *, name: str | None = None, price: Price | None = None) -> None:
        metadata = llm.metadata
        known = metadata.model_name not in ("", "unknown")
        super().__init__(name or (metadata.model_name if known else type(llm).__name__), price=price)
        self.llm = llm
        # their asynchronous methods call the synchronous ones on the event loop
        self.blocks_event_loop = isinstance(llm, CustomLLM | MockFunctionCallingLLM)

    def generate(self, prompt: Prompt) -> Answer:
        """Ask the LLM, blocking.

        Args:
            prompt: The prompt; ``stop``, ``temperature`` and ``max_tokens`` are passed on.

        Returns:
            The answer, with the usage where the response holds it.

        Raises:
            MemberError: The call has tools.
        """
        return _answer(self.llm.chat(self._messages(prompt), **_options(prompt)))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Ask the LLM without blocking the event loop; see ``generate``."""
        return _answer(await self.llm.achat(self._messages(prompt), **_options(prompt)))

    def stream(self, prompt: Prompt) -> Iterator[str | Answer]:
        """Ask the LLM and hand the text over as it comes, then the whole ``Answer``."""
        response: ChatResponse | None = None
        for response in self.llm.stream_chat(self._messages(prompt), **_options(prompt)):
            if response.delta:
                yield response.delta
        yield _last(self.name, response)

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Answer]:
        """Like ``stream``, without blocking the event loop."""
        if self.blocks_event_loop:
            async for item in super().astream(prompt):
                yield item
            return
        response: ChatResponse | None = None
        async for response in await self.llm.astream_chat(self._messages(prompt), **_options(prompt)):
            if response.delta:
                yield response.delta
        yield _last(self.name, response)

    def _messages(self, prompt: Prompt) -> list[ChatMessage]:
        if prompt.options.get("tools"):
            raise MemberError(f"{self.name} is a LlamaIndex LLM; such members take no part in calls with tools")
        return [ChatMessage(role=turn.role, content=turn.content) for turn in prompt.messages]


def _options(prompt: Prompt) -> dict[str, Any]:
    return {name: prompt.options[name] for name in _KNOWN_OPTIONS if prompt.options.get(name) is not None}


def _last(name: str, response: ChatResponse | None) -> Answer:
    if response is None:
        raise MemberError(f"{name}: the stream ended without an answer")
    return _answer(response)


def _answer(response: ChatResponse) -> Answer:
    return Answer(response.message.content or "", usage=_usage(response), native=response)


def _usage(response: ChatResponse) -> Usage | None:
    """Providers put their counts into the raw response, or into the response's additional arguments."""
    raw = response.raw
    usage = raw.get("usage") if isinstance(raw, Mapping) else getattr(raw, "usage", None)
    for source in (usage, response.additional_kwargs):
        counts = [_count(source, names) for names in (("prompt_tokens", "input_tokens"), _OUTPUT_NAMES)]
        if None not in counts:
            return Usage(counts[0] or 0, counts[1] or 0)
    return None


_OUTPUT_NAMES = ("completion_tokens", "output_tokens")


def _count(source: Any, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
        if isinstance(value, int):
            return value
    return None

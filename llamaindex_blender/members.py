"""Ask LlamaIndex LLMs as members of a blend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatResponse, LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM

from blender_core.errors import ConfigurationError, MemberError, UnsupportedError
from blender_core.members.member import Member
from blender_core.runtime.threads import iterate_in_thread
from blender_core.text.thinking import ThinkingFilter, split_thinking
from blender_core.types.answer import Answer, Price, ToolCall
from blender_core.types.prompt import Prompt
from llamaindex_blender.blocking import blocks_event_loop
from llamaindex_blender.messages import NativeInput, calls_of_message, to_answer, to_messages
from llamaindex_blender.tools import as_tool, normalised_choice

__all__ = ["KNOWN_OPTIONS", "LlamaIndexMember", "adapt"]

# call options that LLMs of every integration take
KNOWN_OPTIONS = ("max_tokens", "stop", "temperature")


def adapt(llm: Any) -> Member:
    """Return a ``LlamaIndexMember`` of an LLM, else ``NotImplemented``; an entry point names it."""
    return LlamaIndexMember(llm) if isinstance(llm, BaseLLM) else NotImplemented


class LlamaIndexMember(Member):
    """Asks a LlamaIndex LLM through its chat methods.

    Thoughts before the answer, in ``<think>`` tags or thinking blocks, are not part of the answer. A call with tools
    goes through ``chat_with_tools``; an LLM that cannot call tools is not asked. An LLM whose asynchronous methods
    block the event loop runs in a thread. Its own retries come on top of the engine's.

    Args:
        llm: The LLM.
        name: Shown in results; default is the model's name, else the class's.
        price: Price of its tokens, for the cost in results and for budgets.
        follows_instructions: Whether it can fuse, which a base model cannot.

    Raises:
        ConfigurationError: It is not a LlamaIndex LLM.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> LlamaIndexMember(MockLLM(max_tokens=2), name="mock").generate(Prompt.of("one two three")).text
        'text text'
    """

    def __init__(
        self,
        llm: BaseLLM,
        *,
        name: str | None = None,
        price: Price | None = None,
        follows_instructions: bool = True,
    ) -> None:
        if not isinstance(llm, BaseLLM):
            raise ConfigurationError(f"{type(llm).__name__} is not a LlamaIndex LLM; pass a subclass of BaseLLM")
        self.llm = llm
        self._stated = LLMMetadata(context_window=0, num_output=-1)
        stated = self.metadata.model_name
        super().__init__(name or (stated if stated not in ("", "unknown") else type(llm).__name__), price=price)
        self.blocks_event_loop = blocks_event_loop(llm)
        self.follows_instructions = follows_instructions

    def generate(self, prompt: Prompt) -> Answer:
        """Ask the LLM, blocking.

        Args:
            prompt: The prompt.

        Returns:
            The answer with its tool calls, and the usage if the response reports it.

        Raises:
            UnsupportedError: The call has tools and the LLM cannot call any.
            MemberError: A tool call cannot be read.
        """
        messages, options = to_messages(prompt), self._options(prompt)
        if prompt.options.get("tools"):
            llm = self._tool_caller()
            return self._with_calls(llm.chat_with_tools(chat_history=messages, **_tools(prompt), **options))
        return to_answer(self.llm.chat(messages, **options))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Ask the LLM without blocking the event loop; see ``generate``."""
        if self.blocks_event_loop:
            return await super().agenerate(prompt)
        messages, options = to_messages(prompt), self._options(prompt)
        if prompt.options.get("tools"):
            llm = self._tool_caller()
            return self._with_calls(await llm.achat_with_tools(chat_history=messages, **_tools(prompt), **options))
        return to_answer(await self.llm.achat(messages, **options))

    def stream(self, prompt: Prompt) -> Iterator[str | Answer]:
        """Ask the LLM, and yield pieces of text, then the ``Answer``."""
        if prompt.options.get("tools"):
            yield from super().stream(prompt)
            return
        stream = _TextStream(self.name)
        for response in self.llm.stream_chat(to_messages(prompt), **self._options(prompt)):
            if text := stream.take(response):
                yield text
        yield from stream.end()

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Answer]:
        """Stream without blocking the event loop; see ``stream``."""
        if self.blocks_event_loop:
            async for item in iterate_in_thread(lambda: self.stream(prompt)):
                yield item
            return
        if prompt.options.get("tools"):
            async for item in super().astream(prompt):
                yield item
            return
        stream = _TextStream(self.name)
        async for response in await self.llm.astream_chat(to_messages(prompt), **self._options(prompt)):
            if text := stream.take(response):
                yield text
        for item in stream.end():
            yield item

    def can_call_tools(self, tools: list[Any]) -> bool:
        """Tell whether the LLM takes tools.

        Args:
            tools: The tools.

        Returns:
            ``True`` if it has ``chat_with_tools``, and its metadata says that the model calls functions.
        """
        return isinstance(self.llm, FunctionCallingLLM) and self.metadata.is_function_calling_model

    @property
    def context_window(self) -> int | None:
        """Most tokens that the LLM reads and writes in one call; ``None`` if it does not report it."""
        window = self.metadata.context_window
        return window if window > 0 else None

    @property
    def metadata(self) -> LLMMetadata:
        """The LLM's metadata.

        Some LLMs ask their server, which may be down. Then this is the last known metadata, at first without a window
        and without tools. The call itself fails and reports the error.
        """
        with contextlib.suppress(Exception):
            self._stated = self.llm.metadata
        return self._stated

    def _tool_caller(self) -> FunctionCallingLLM:
        if isinstance(self.llm, FunctionCallingLLM) and self.metadata.is_function_calling_model:
            return self.llm
        raise UnsupportedError(
            f"{self.name} cannot call tools (it is no function-calling LLM, or its metadata says so), so it takes "
            "no part in calls with tools"
        )

    def _with_calls(self, response: ChatResponse) -> Answer:
        """Convert a response; the LLM itself reads the tool calls, because integrations store them differently."""
        selections = self._tool_caller().get_tool_calls_from_response(response, error_on_no_tool_call=False)
        calls = tuple(ToolCall(call.tool_name, call.tool_kwargs, call.tool_id or None) for call in selections)
        if calls:
            # many integrations turn broken arguments into none; this raises, so that such a call does not count
            calls_of_message(response.message)
        return to_answer(response, calls)

    def _options(self, prompt: Prompt) -> dict[str, Any]:
        options = {name: prompt.options[name] for name in KNOWN_OPTIONS if prompt.options.get(name) is not None}
        return {**options, **prompt.native.options} if isinstance(prompt.native, NativeInput) else options


def _tools(prompt: Prompt) -> dict[str, Any]:
    choice = normalised_choice(prompt.options.get("tool_choice"))
    named = {} if choice in (None, "any") else {"tool_choice": choice}
    native = prompt.native
    return {
        "tools": [as_tool(tool) for tool in prompt.options["tools"]],
        "allow_parallel_tool_calls": native.parallel_tool_calls if isinstance(native, NativeInput) else True,
        "tool_required": choice not in (None, "auto", "none"),
        **named,
    }


class _TextStream:
    """Collects the pieces of one stream, and removes thoughts from their text."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._deltas: list[str] = []
        self._last: ChatResponse | None = None
        self._filter = ThinkingFilter()

    def take(self, response: ChatResponse) -> str:
        self._last = response
        if not response.delta:
            return ""
        self._deltas.append(response.delta)
        return self._filter.take(response.delta)

    def end(self) -> Iterator[str | Answer]:
        if self._last is None:
            raise MemberError(f"{self._name}: the stream ended without an answer")
        if rest := self._filter.rest():
            yield rest
        answer = to_answer(self._last)
        yield replace(answer, text=split_thinking("".join(self._deltas))[1]) if self._deltas else answer

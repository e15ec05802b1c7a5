"""Ask LlamaIndex LLMs as members of a blend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM

from blender_core.errors import ConfigurationError, MemberError, UnsupportedError
from blender_core.events import Thought
from blender_core.local.control_tokens import served_tokens
from blender_core.members.control_tokens import reachable_tokens
from blender_core.members.member import Member
from blender_core.runtime.threads import call_in_thread, iterate_in_thread, run_sync, stream_sync
from blender_core.text.thinking import ThinkingFilter, split_thinking
from blender_core.types.answer import Answer, Price, ToolCall
from blender_core.types.prompt import Prompt, unreadable
from llamaindex_blender.asking import AsynchronousWays
from llamaindex_blender.blocking import is_of_custom_llm
from llamaindex_blender.counting import estimated_usage, leave_to_blend
from llamaindex_blender.messages import (
    NativeInput,
    calls_of_message,
    finish_reason_of,
    is_unfinished,
    to_answer,
    to_messages,
)
from llamaindex_blender.tools import as_tool, normalised_choice
from llamaindex_blender.windows import surely_fits, why_too_long

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
    block the event loop runs in a thread; an ``acomplete`` of its own is awaited. Its own retries come on top of the
    engine's.

    Args:
        llm: The LLM.
        name: Shown in results; default is the model's name, else the class's.
        price: Price of its tokens, for the cost in results and for budgets.
        follows_instructions: Whether it can fuse, which a base model cannot.

    Attributes:
        known_metadata: The LLM's metadata, as read when the member was made or asked last.

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
        self.known_metadata = LLMMetadata(context_window=0, num_output=-1)
        self._read_of: tuple[Any, ...] | None = None
        stated = self.metadata.model_name
        super().__init__(name or (stated if stated not in ("", "unknown") else type(llm).__name__), price=price)
        self._asynchronous = AsynchronousWays(llm)
        self.blocks_event_loop = self._asynchronous.answers is None
        self.follows_instructions = follows_instructions

    @property
    def control_tokens(self) -> frozenset[str]:
        """Control tokens of a model that runs in this process or that ``local_ensemble`` serves; else empty."""
        return reachable_tokens(self.llm) | served_tokens(getattr(self.llm, "api_base", None))

    def generate(self, prompt: Prompt) -> Answer:
        """Ask the LLM, blocking; an LLM with asynchronous methods only runs on an event loop of its own.

        Args:
            prompt: The prompt.

        Returns:
            The answer with its tool calls, and the usage if the response reports it.

        Raises:
            UnsupportedError: The call has tools and the LLM cannot call any.
            MemberError: A tool call cannot be read.
        """
        messages, options = self._asked(prompt)
        try:
            if prompt.options.get("tools"):
                llm = self._tool_caller()
                response = llm.chat_with_tools(chat_history=messages, **_tools(prompt), **options)
                return _with_calls(llm, messages, response)
            return _answer(messages, self.llm.chat(messages, **options))
        except NotImplementedError:
            if self.has_native_async:
                return super().generate(prompt)
            if not self._asynchronous.completes:
                raise
            # it never awaits, so on the caller's event loop it would block
            return _answer(messages, run_sync(lambda: self._asynchronous.answer(messages, options)))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Ask the LLM without blocking the event loop; see ``generate``."""
        if self.blocks_event_loop:
            return await super().agenerate(prompt)
        messages, options = self._asked(prompt)
        if prompt.options.get("tools"):
            # its metadata may ask a server
            llm = await call_in_thread(self._tool_caller)
            response = await llm.achat_with_tools(chat_history=messages, **_tools(prompt), **options)
            return _with_calls(llm, messages, response)
        return _answer(messages, await self._asynchronous.answer(messages, options))

    def stream(self, prompt: Prompt) -> Iterator[str | Thought | Answer]:
        """Ask the LLM, and yield pieces of text and thoughts, then the ``Answer``.

        An LLM that cannot stream answers whole.

        Raises:
            MemberError: The stream ended before the model was done.
        """
        if prompt.options.get("tools"):
            yield from super().stream(prompt)
            return
        began = False
        try:
            for item in self._blocking_stream(prompt):
                began = True
                yield item
        except NotImplementedError:
            if began:
                raise
            native = self._asynchronous.streams is not None
            yield from stream_sync(lambda: self.astream(prompt)) if native else super().stream(prompt)

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Thought | Answer]:
        """Stream without blocking the event loop; see ``stream``."""
        if prompt.options.get("tools"):
            async for item in super().astream(prompt):
                yield item
            return
        native = self._asynchronous.streams is not None
        items = self._native_stream(prompt) if native else iterate_in_thread(lambda: self._blocking_stream(prompt))
        began = False
        try:
            async with aclosing(items):  # type: ignore[type-var]
                async for item in items:
                    began = True
                    yield item
        except NotImplementedError:
            if began:
                raise
            # on this event loop, to which the LLM's connections belong
            async for item in super().astream(prompt):
                yield item

    def _blocking_stream(self, prompt: Prompt) -> Iterator[str | Thought | Answer]:
        messages, options = self._asked(prompt)
        stream = _Stream(self.name, messages)
        for response in self.llm.stream_chat(messages, **options):
            yield from stream.take(response)
        yield from stream.end()

    async def _native_stream(self, prompt: Prompt) -> AsyncIterator[str | Thought | Answer]:
        messages, options = self._asked(prompt)
        stream = _Stream(self.name, messages)
        async for response in self._asynchronous.stream(messages, options):
            for item in stream.take(response):
                yield item
        for last in stream.end():
            yield last

    def why_not(self, prompt: Prompt) -> str | None:
        """Tell why the LLM cannot take a prompt; the engine asks this before each call.

        Args:
            prompt: The prompt.

        Returns:
            The reason, if the LLM answers texts only and the prompt holds images, sound or files, or if its window is
            too small; else ``None``. A window that is only LlamaIndex's default is none.
        """
        unread = unreadable(prompt)
        if unread is not None and not is_of_custom_llm(self.llm, "chat"):
            unread = None
        if unread is not None or self._surely_fits(prompt):
            return unread
        return why_too_long(self.llm, self.metadata, prompt)

    def why_not_blocks(self, prompt: Prompt) -> bool:
        """Tell whether the metadata has to be read, which may ask a server, or the prompt counted.

        Args:
            prompt: The prompt.

        Returns:
            ``False`` if the prompt surely fits the window that the LLM stated last. Then ``why_not`` reads no more.
        """
        if type(self).why_not is not LlamaIndexMember.why_not:
            return True
        return not self._surely_fits(prompt)

    def _surely_fits(self, prompt: Prompt) -> bool:
        unchanged = self._read_of == _window_of(self.llm)
        return unchanged and not prompt.options.get("tools") and surely_fits(self.llm, self.known_metadata, prompt)

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
            stated_of = _window_of(self.llm)
            self.known_metadata = self.llm.metadata
            self._read_of = stated_of
        return self.known_metadata

    def _tool_caller(self) -> FunctionCallingLLM:
        if isinstance(self.llm, FunctionCallingLLM) and self.metadata.is_function_calling_model:
            return self.llm
        raise UnsupportedError(
            f"{self.name} cannot call tools (it is no function-calling LLM, or its metadata says so), so it takes "
            "no part in calls with tools"
        )

    def _asked(self, prompt: Prompt) -> tuple[list[ChatMessage], dict[str, Any]]:
        """The messages and options of a call that is about to start."""
        leave_to_blend(self.llm)
        return to_messages(prompt), self._options(prompt)

    def _options(self, prompt: Prompt) -> dict[str, Any]:
        options = {name: prompt.options[name] for name in KNOWN_OPTIONS if prompt.options.get(name) is not None}
        return {**options, **prompt.native.options} if isinstance(prompt.native, NativeInput) else options


def _window_of(llm: BaseLLM) -> tuple[Any, ...]:
    """The settings that a window depends on; the metadata is read again if they change."""
    return tuple(getattr(llm, name, None) for name in ("model", "context_window"))


def _with_calls(llm: FunctionCallingLLM, messages: Sequence[ChatMessage], response: ChatResponse) -> Answer:
    """Convert a response; the LLM itself reads the tool calls, because integrations store them differently."""
    selections = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    calls = tuple(ToolCall(call.tool_name, call.tool_kwargs, call.tool_id or None) for call in selections)
    if calls:
        # many integrations turn broken arguments into none; this raises, so that such a call does not count
        calls_of_message(response.message)
    return _answer(messages, response, calls)


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


def _answer(messages: Sequence[ChatMessage], response: ChatResponse, calls: Sequence[ToolCall] = ()) -> Answer:
    answer = to_answer(response, calls)
    return answer if answer.usage is not None else replace(answer, usage=estimated_usage(messages, response))


class _Stream:
    """Collects the pieces of one stream, and tells thoughts from text."""

    def __init__(self, name: str, messages: Sequence[ChatMessage]) -> None:
        self._name = name
        self._messages = messages
        self._deltas: list[str] = []
        self._thoughts: list[str] = []
        self._last: ChatResponse | None = None
        self._finish_reason: str | None = None
        self._is_open = False
        self._filter = ThinkingFilter()

    def take(self, response: ChatResponse) -> Iterator[str | Thought]:
        self._last = response
        self._finish_reason = finish_reason_of(response) or self._finish_reason
        self._is_open = self._finish_reason is None and is_unfinished(response, self._is_open)
        thought = response.additional_kwargs.get("thinking_delta")
        if isinstance(thought, str) and thought:
            self._thoughts.append(thought)
            yield Thought(thought)
        if response.delta:
            self._deltas.append(response.delta)
            yield from self._told(*self._filter.take(response.delta))

    def _told(self, thoughts: str, text: str) -> Iterator[str | Thought]:
        if thoughts:
            yield Thought(thoughts)
        if text:
            yield text

    def end(self) -> Iterator[str | Thought | Answer]:
        if self._last is None:
            raise MemberError(f"{self._name}: the stream ended without an answer")
        yield from self._told(*self._filter.rest())
        if self._is_open:
            raise MemberError("the stream ended before the model was done; the server may have been stopped")
        answer = _answer(self._messages, self._last)
        text = split_thinking("".join(self._deltas))[1] if self._deltas else answer.text
        reason = answer.finish_reason or self._finish_reason
        yield replace(answer, text=text, finish_reason=reason, thoughts=answer.thoughts or "".join(self._thoughts))

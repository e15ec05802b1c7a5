"""A LlamaIndex LLM with scripted answers, latency and faults, for this library's tests and for yours."""

# No `from __future__ import annotations`: LlamaIndex and pydantic resolve these annotations at run time.

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from llama_index.core.base.llms.generic_utils import (
    achat_to_completion_decorator,
    astream_chat_to_completion_decorator,
    chat_to_completion_decorator,
    stream_chat_to_completion_decorator,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import BeforeValidator, Field, PrivateAttr

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

__all__ = ["ScriptedCall", "ScriptedLLM", "call_first_tool"]


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """One call that a ``ScriptedLLM`` got.

    Attributes:
        messages: The conversation.
        options: Call options, ``tools`` among them.
        streamed: Whether it was asked to stream.
    """

    messages: tuple[ChatMessage, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    streamed: bool = False

    @property
    def text(self) -> str:
        """The last message's text."""
        return self.messages[-1].content or ""


def call_first_tool(call: ScriptedCall) -> ChatMessage:
    """A step of a script: call the first tool with its default arguments, or answer in text.

    Args:
        call: The call.

    Returns:
        A tool call where there are tools and no result of one yet; else a sentence.
    """
    tools = call.options.get("tools") or ()
    if not tools or any(message.role == MessageRole.TOOL for message in call.messages):
        return ChatMessage(role=MessageRole.ASSISTANT, content="All done, the tool has answered.")
    metadata = tools[0].metadata
    fields = {} if metadata.fn_schema is None else metadata.fn_schema.model_fields
    arguments = {name: value.get_default(call_default_factory=True) for name, value in fields.items()}
    block = ToolCallBlock(tool_name=metadata.get_name(), tool_kwargs=arguments, tool_call_id="scripted")
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=[block])


def _steps(script: Any) -> Any:
    return [script] if isinstance(script, str | ChatMessage | BaseException) or callable(script) else script


class ScriptedLLM(FunctionCallingLLM):
    """An LLM that follows a script, with native synchronous, asynchronous and streaming methods.

    Args:
        script: What a call does: one step, or a list of steps in order, of which the last repeats. A text or a
            message is the answer, an exception is raised, a function is called with the ``ScriptedCall``.
        model: Its name.
        latency_s: Seconds before an answer.
        hang: Never answer.
        usage: Report usage, counted in words.
        tools: Be a function-calling LLM.
        context_window: What its metadata says.

    Examples:
        >>> llm = ScriptedLLM(script=["Hello", ConnectionError("reset")], model="a")
        >>> llm.complete("Hi").raw["usage"]["completion_tokens"], llm.calls[0].text
        (1, 'Hi')
    """

    script: Annotated[list[Any], BeforeValidator(_steps)] = Field(default_factory=lambda: ["ok"])
    model: str = "scripted"
    latency_s: float = 0.0
    hang: bool = False
    usage: bool = True
    tools: bool = True
    context_window: int = 4096

    _calls: list[ScriptedCall] = PrivateAttr(default_factory=list)
    _cancelled: list[ScriptedCall] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """The name that stands in the serialised form."""
        return "ScriptedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """A chat model, with tools as ``tools`` says."""
        return LLMMetadata(
            context_window=self.context_window,
            is_chat_model=True,
            is_function_calling_model=self.tools,
            model_name=self.model,
        )

    @property
    def calls(self) -> tuple[ScriptedCall, ...]:
        """Every call so far, in order."""
        return tuple(self._calls)

    @property
    def cancelled(self) -> int:
        """How many asynchronous calls were cancelled while they waited."""
        return len(self._cancelled)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Follow the script, blocking."""
        return self._chat(messages, **kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Follow the script, word by word."""
        return self._stream_chat(messages, **kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Follow the script on the event loop."""
        return await self._achat(messages, **kwargs)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Follow the script on the event loop, word by word."""
        return await self._astream_chat(messages, **kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Follow the script, blocking."""
        return chat_to_completion_decorator(self._chat)(prompt, **kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Follow the script, word by word."""
        return stream_chat_to_completion_decorator(self._stream_chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Follow the script on the event loop."""
        return await achat_to_completion_decorator(self._achat)(prompt, **kwargs)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Follow the script on the event loop, word by word."""
        return await astream_chat_to_completion_decorator(self._astream_chat)(prompt, **kwargs)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence["BaseTool"],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if user_msg is not None:
            messages.append(ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg)
        return {"messages": messages, "tools": list(tools), "tool_required": tool_required, **kwargs}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls in the message's blocks."""
        blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            raise ValueError("expected at least one tool call")
        return [
            ToolSelection(
                tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=cast(Any, block.tool_kwargs)
            )
            for block in blocks
        ]

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        call, step = self._next(messages, kwargs, streamed=False)
        self._wait()
        return self._play(call, step)

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        call, step = self._next(messages, kwargs, streamed=False)
        await self._await(call)
        return self._play(call, step)

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        call, step = self._next(messages, kwargs, streamed=True)

        def pieces() -> ChatResponseGen:
            self._wait()
            yield from _pieces(self._play(call, step))

        return pieces()

    async def _astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        call, step = self._next(messages, kwargs, streamed=True)

        async def pieces() -> ChatResponseAsyncGen:
            await self._await(call)
            for piece in _pieces(self._play(call, step)):
                yield piece

        return pieces()

    def _wait(self) -> None:
        if self.hang:
            threading.Event().wait()
        time.sleep(self.latency_s)

    async def _await(self, call: ScriptedCall) -> None:
        try:
            if self.hang:
                await asyncio.Event().wait()
            await asyncio.sleep(self.latency_s)
        except asyncio.CancelledError:
            self._cancelled.append(call)
            raise

    def _next(
        self, messages: Sequence[ChatMessage], options: dict[str, Any], *, streamed: bool
    ) -> tuple[ScriptedCall, Any]:
        call = ScriptedCall(tuple(messages), dict(options), streamed)
        # appending is atomic; two calls at the same moment may play the same step
        self._calls.append(call)
        return call, self.script[min(len(self._calls), len(self.script)) - 1] if self.script else "ok"

    def _play(self, call: ScriptedCall, step: Any) -> ChatResponse:
        if isinstance(step, BaseException):
            raise step
        played = step(call) if callable(step) else step
        message = (
            played.model_copy(deep=True)
            if isinstance(played, ChatMessage)
            else ChatMessage(role=MessageRole.ASSISTANT, content=str(played))
        )
        raw: dict[str, Any] = {"model": self.model}
        if self.usage:
            read = sum(len((turn.content or "").split()) for turn in call.messages)
            written = len((message.content or "").split())
            raw["usage"] = {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
            }
        return ChatResponse(message=message, raw=raw)


def _pieces(response: ChatResponse) -> list[ChatResponse]:
    """Word by word; the last piece is the whole response."""
    pieces, text = [], ""
    words = (response.message.content or "").replace(" ", " \0").split("\0")
    for word in words[:-1]:
        text += word
        pieces.append(ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=word))
    return [*pieces, response.model_copy(update={"delta": words[-1]})]

"""A chat model with scripted answers, latency and faults, for this library's tests and for yours."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BeforeValidator, Field, PrivateAttr

__all__ = ["FakeCall", "FakeChatModel", "Scripted"]


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One call that a ``FakeChatModel`` got.

    Attributes:
        messages: The conversation.
        options: Call options, ``stop`` and ``tools`` among them.
        streamed: Whether it was asked to stream.
    """

    messages: tuple[BaseMessage, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    streamed: bool = False

    @property
    def text(self) -> str:
        """The last message's text."""
        return str(self.messages[-1].text)


Scripted = str | AIMessage | BaseException | Callable[[FakeCall], "str | AIMessage"]


def _steps(script: Any) -> Any:
    return [script] if isinstance(script, str | AIMessage | BaseException) or callable(script) else script


class FakeChatModel(BaseChatModel):
    """A chat model that follows a script, with native synchronous, asynchronous and streaming methods.

    Args:
        script: What a call does: one step, or a list of steps in order, of which the last repeats. A text or a
            message is the answer, an exception is raised, a function is called with the ``FakeCall``.
        model_name: Its name; stands in each answer's metadata.
        latency_s: Seconds before an answer.
        hang: Never answer.
        usage: Report usage, counted in words.
        tools: Implement ``bind_tools``.

    Examples:
        >>> model = FakeChatModel(script=["Hello", ConnectionError("reset")], model_name="a")
        >>> model.invoke("Hi").usage_metadata["output_tokens"], model.calls[0].text
        (1, 'Hi')
    """

    script: Annotated[list[Any], BeforeValidator(_steps)] = Field(default_factory=lambda: ["ok"])
    model_name: str = "fake"
    latency_s: float = 0.0
    hang: bool = False
    usage: bool = True
    tools: bool = True

    _calls: list[FakeCall] = PrivateAttr(default_factory=list)
    _cancelled: int = PrivateAttr(default=0)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def calls(self) -> tuple[FakeCall, ...]:
        """Every call so far, in order."""
        return tuple(self._calls)

    @property
    def cancelled(self) -> int:
        """How many asynchronous calls were cancelled while they waited."""
        return self._cancelled

    @property
    def _llm_type(self) -> str:
        return "fake-chat-model"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "script": [str(step) for step in self.script]}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, or not, as ``tools`` says."""
        if not self.tools:
            raise NotImplementedError
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step = self._next(messages, stop, kwargs, streamed=False)
        if self.hang:
            threading.Event().wait()
        time.sleep(self.latency_s)
        return ChatResult(generations=[ChatGeneration(message=self._play(step))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step = self._next(messages, stop, kwargs, streamed=False)
        await self._wait()
        return ChatResult(generations=[ChatGeneration(message=self._play(step))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        step = self._next(messages, stop, kwargs, streamed=True)
        if self.hang:
            threading.Event().wait()
        time.sleep(self.latency_s)
        for chunk in _chunks(self._play(step)):
            generation = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.text), chunk=generation)
            yield generation

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        step = self._next(messages, stop, kwargs, streamed=True)
        await self._wait()
        for chunk in _chunks(self._play(step)):
            generation = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                await run_manager.on_llm_new_token(str(chunk.text), chunk=generation)
            yield generation

    async def _wait(self) -> None:
        try:
            if self.hang:
                await asyncio.Event().wait()
            await asyncio.sleep(self.latency_s)
        except asyncio.CancelledError:
            self._cancelled += 1
            raise

    def _next(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, options: dict[str, Any], *, streamed: bool
    ) -> tuple[FakeCall, Any]:
        call = FakeCall(tuple(messages), {**options, **({"stop": stop} if stop else {})}, streamed)
        with self._lock:
            self._calls.append(call)
            place = min(len(self._calls), len(self.script)) - 1
            return call, self.script[place] if self.script else "ok"

    def _play(self, planned: tuple[FakeCall, Any]) -> AIMessage:
        call, step = planned
        if isinstance(step, BaseException):
            raise step
        played = step(call) if callable(step) else step
        message = played.model_copy() if isinstance(played, AIMessage) else AIMessage(content=str(played))
        message.response_metadata = {"model_name": self.model_name, **message.response_metadata}
        if self.usage and message.usage_metadata is None:
            read = sum(len(str(turn.text).split()) for turn in call.messages)
            written = len(str(message.text).split()) + len(message.tool_calls)
            message.usage_metadata = UsageMetadata(
                input_tokens=read, output_tokens=written, total_tokens=read + written
            )
        return message


def _chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    if isinstance(message.content, str):
        for word in message.content.replace(" ", " \0").split("\0"):
            if word:
                yield AIMessageChunk(content=word)
    else:
        yield AIMessageChunk(content=message.content)
    for index, call in enumerate(message.tool_calls):
        arguments = json.dumps(call["args"], ensure_ascii=False)
        piece = tool_call_chunk(name=call["name"], args=arguments, id=call["id"], index=index)
        yield AIMessageChunk(content="", tool_call_chunks=[piece])
    yield AIMessageChunk(
        content="",
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        additional_kwargs=message.additional_kwargs,
        chunk_position="last",
    )

"""A chat model with scripted answers, latency and faults, for tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BeforeValidator, Field, PrivateAttr

from blender_core.testing.script import RecordedCall, Script, words
from langchain_blender.tools import convert_tools

__all__ = ["FakeCall", "FakeChatModel", "Scripted"]


FakeCall = RecordedCall[BaseMessage]
Scripted = str | AIMessage | BaseException | Callable[[FakeCall], "str | AIMessage"]
"""A step of a script."""


def _steps(script: Any) -> Any:
    return [script] if isinstance(script, str | AIMessage | BaseException) or callable(script) else script


class FakeChatModel(BaseChatModel):
    """Answers by a script, with its own synchronous, asynchronous and streaming methods.

    Args:
        script: One step for each call, in order; the last step repeats. A text or a message is the answer, an
            exception is raised, a function is called with the ``FakeCall``.
        model_name: Its name; each answer's metadata has it.
        latency_s: Seconds before an answer.
        hang: Never answer.
        usage: Whether to report usage, counted in words.
        tools: Whether to implement ``bind_tools``.

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

    _script: Script[FakeCall] = PrivateAttr(default_factory=Script)

    @property
    def calls(self) -> tuple[FakeCall, ...]:
        """Every call so far, in order."""
        return tuple(self._script.calls)

    @property
    def cancelled(self) -> int:
        """Number of asynchronous calls that were cancelled while they waited."""
        return self._script.cancelled

    @property
    def _llm_type(self) -> str:
        return "fake-chat-model"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "script": [str(step) for step in self.script]}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, if ``tools`` is true."""
        if not self.tools:
            raise NotImplementedError
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        described = convert_tools(tools, strict=kwargs.get("strict"))
        return self.bind(tools=[dict(tool) for tool in described], **choice, **kwargs)

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        call, step = self._next(messages, stop, kwargs, streamed=False)
        self._script.wait(self.latency_s, self.hang)
        return ChatResult(generations=[ChatGeneration(message=self._play(step, call))])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        call, step = self._next(messages, stop, kwargs, streamed=False)
        await self._script.wait_async(self.latency_s, self.hang)
        return ChatResult(generations=[ChatGeneration(message=self._play(step, call))])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        call, step = self._next(messages, stop, kwargs, streamed=True)
        self._script.wait(self.latency_s, self.hang)
        for chunk in _chunks(self._play(step, call)):
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
            yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        call, step = self._next(messages, stop, kwargs, streamed=True)
        await self._script.wait_async(self.latency_s, self.hang)
        for chunk in _chunks(self._play(step, call)):
            if run_manager is not None:
                await run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
            yield chunk

    def _next(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, options: dict[str, Any], *, streamed: bool
    ) -> tuple[FakeCall, Any]:
        call = FakeCall(tuple(messages), {**options, **({"stop": stop} if stop else {})}, streamed)
        return call, self._script.take(call, self.script or ["ok"])

    def _play(self, step: Any, call: FakeCall) -> AIMessage:
        played = self._script.play(step, call)
        message = played.model_copy() if isinstance(played, AIMessage) else AIMessage(content=str(played))
        message.response_metadata = {"model_name": self.model_name, **message.response_metadata}
        if self.usage and message.usage_metadata is None:
            read = sum(len(str(turn.text).split()) for turn in call.messages)
            written = len(str(message.text).split()) + len(message.tool_calls)
            message.usage_metadata = UsageMetadata(
                input_tokens=read, output_tokens=written, total_tokens=read + written
            )
        return message


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    pieces = [
        tool_call_chunk(
            name=call["name"], args=json.dumps(call["args"], ensure_ascii=False), id=call["id"], index=index
        )
        for index, call in enumerate(message.tool_calls)
    ]
    texts = words(message.content) if isinstance(message.content, str) else [message.content]
    chunks = [
        *(AIMessageChunk(content=text) for text in texts),
        *(AIMessageChunk(content="", tool_call_chunks=[piece]) for piece in pieces),
        AIMessageChunk(
            content="",
            usage_metadata=message.usage_metadata,
            response_metadata=message.response_metadata,
            additional_kwargs=message.additional_kwargs,
            chunk_position="last",
        ),
    ]
    yield from (ChatGenerationChunk(message=chunk) for chunk in chunks)

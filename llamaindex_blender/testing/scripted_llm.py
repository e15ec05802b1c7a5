"""A LlamaIndex LLM with scripted answers, latency and faults, for tests."""

# No `from __future__ import annotations`: LlamaIndex and pydantic resolve these annotations at run time.

from collections.abc import Sequence
from typing import Annotated, Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from pydantic import BeforeValidator, Field, PrivateAttr

from blender_core.testing.script import RecordedCall, Script, words
from llamaindex_blender.chat_llm import ChatLLM

__all__ = ["ScriptedCall", "ScriptedLLM", "call_first_tool"]


ScriptedCall = RecordedCall[ChatMessage]


def call_first_tool(call: ScriptedCall) -> ChatMessage:
    """Call the first tool with its default arguments, or answer in text; a step of a script.

    Args:
        call: The call.

    Returns:
        A tool call if there are tools and no tool has answered yet; else a sentence.
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


class ScriptedLLM(ChatLLM):
    """Answers by a script, with its own synchronous, asynchronous and streaming methods.

    Args:
        script: One step for each call, in order; the last step repeats. A text or a message is the answer, an
            exception is raised, a function is called with the ``ScriptedCall``.
        model: Its name.
        latency_s: Seconds before an answer.
        hang: Never answer.
        usage: Whether to report usage, counted in words.
        tools: Whether it is a function-calling LLM.
        context_window: The window in its metadata, in tokens.

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

    _script: Script[ScriptedCall] = PrivateAttr(default_factory=Script)

    @classmethod
    def class_name(cls) -> str:
        """Return the name in the serialised form."""
        return "ScriptedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """Metadata of a chat model; ``tools`` says whether it calls functions."""
        return LLMMetadata(
            context_window=self.context_window,
            is_chat_model=True,
            is_function_calling_model=self.tools,
            model_name=self.model,
        )

    @property
    def calls(self) -> tuple[ScriptedCall, ...]:
        """Every call so far, in order."""
        return tuple(self._script.calls)

    @property
    def cancelled(self) -> int:
        """Number of asynchronous calls that were cancelled while they waited."""
        return self._script.cancelled

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the calls in the message's blocks."""
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
        self._script.wait(self.latency_s, self.hang)
        return self._play(step, call)

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        call, step = self._next(messages, kwargs, streamed=False)
        await self._script.wait_async(self.latency_s, self.hang)
        return self._play(step, call)

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        call, step = self._next(messages, kwargs, streamed=True)

        def pieces() -> ChatResponseGen:
            self._script.wait(self.latency_s, self.hang)
            yield from _pieces(self._play(step, call))

        return pieces()

    async def _astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        call, step = self._next(messages, kwargs, streamed=True)

        async def pieces() -> ChatResponseAsyncGen:
            await self._script.wait_async(self.latency_s, self.hang)
            for piece in _pieces(self._play(step, call)):
                yield piece

        return pieces()

    def _next(
        self, messages: Sequence[ChatMessage], options: dict[str, Any], *, streamed: bool
    ) -> tuple[ScriptedCall, Any]:
        call = ScriptedCall(tuple(messages), dict(options), streamed)
        return call, self._script.take(call, self.script or ["ok"])

    def _play(self, step: Any, call: ScriptedCall) -> ChatResponse:
        played = self._script.play(step, call)
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
    """Split a response into words; the last piece is the whole response."""
    pieces, text = [], ""
    *first, last = words(response.message.content or "") or [""]
    for word in first:
        text += word
        pieces.append(ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=word))
    return [*pieces, response.model_copy(update={"delta": last})]

"""The public methods of an LLM that answers through chat; prompts become messages."""

# No `from __future__ import annotations`: LlamaIndex and pydantic resolve annotations at run time.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    MessageRole,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

__all__ = ["ChatLLM"]


class ChatLLM(FunctionCallingLLM):
    """An LLM whose eight public methods call four private chat methods.

    The callbacks and spans of LlamaIndex belong to the public methods, so a completion must not call ``chat``: its
    call would be reported twice.
    """

    # not abstract methods: LlamaIndex would give their implementations spans of their own

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        raise NotImplementedError

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation in pieces."""
        raise NotImplementedError

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation on the event loop."""
        raise NotImplementedError

    async def _astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation in pieces on the event loop."""
        raise NotImplementedError

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation.

        Args:
            messages: The conversation.
            **kwargs: Call options, such as ``temperature``, ``max_tokens`` and ``stop``.

        Returns:
            The response; the class says what it holds.

        Raises:
            QuorumError: Of a blend, fewer members answered than the quorum.
            ConfigurationError: Of a blend, an option that it cannot have.
        """
        return self._chat(messages, **kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation in pieces; see ``chat``."""
        return self._stream_chat(messages, **kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation without blocking the event loop; see ``chat``."""
        return await self._achat(messages, **kwargs)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation in pieces without blocking the event loop; see ``chat``."""
        return await self._astream_chat(messages, **kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt.

        Args:
            prompt: The prompt.
            formatted: Whether ``completion_to_prompt`` was applied to it already.
            **kwargs: Call options; see ``chat``.

        Returns:
            The response; the class says what it holds.
        """
        return chat_to_completion_decorator(self._chat)(self._formatted(prompt, formatted), **kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Answer a prompt in pieces; see ``complete``."""
        return stream_chat_to_completion_decorator(self._stream_chat)(self._formatted(prompt, formatted), **kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt without blocking the event loop; see ``complete``."""
        return await achat_to_completion_decorator(self._achat)(self._formatted(prompt, formatted), **kwargs)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Answer a prompt in pieces without blocking the event loop; see ``complete``."""
        stream = astream_chat_to_completion_decorator(self._astream_chat)
        return await stream(self._formatted(prompt, formatted), **kwargs)

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
            message = ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg
            messages.append(message)
        return {
            "messages": messages,
            "tools": self._stated_tools(tools),
            "tool_required": tool_required,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def _stated_tools(self, tools: Sequence["BaseTool"]) -> list[Any]:
        """The tools as call options and events hold them."""
        return list(tools)

    def _formatted(self, prompt: str, formatted: bool) -> str:
        return prompt if formatted or self.completion_to_prompt is None else self.completion_to_prompt(prompt)

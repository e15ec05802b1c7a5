"""``BlendedLLM``: several LLMs as one LlamaIndex LLM."""

# No `from __future__ import annotations`: LlamaIndex and pydantic resolve these annotations at run time.

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast

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
from llama_index.core.llms.llm import ToolSelection

from blender_core.events import BlendEvent
from llamaindex_blender.call import PreparedCall, prepare_call
from llamaindex_blender.ensemble import EnsembleLLM
from llamaindex_blender.messages import calls_of_message
from llamaindex_blender.output import ResponseWriter, blended_response
from llamaindex_blender.tools import describe

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

__all__ = ["BlendedLLM"]


class BlendedLLM(EnsembleLLM):
    """Several LLMs as one LLM: all answer, a cross-encoder ranks, the best answers are fused.

    It takes the place of any LLM: ``Settings.llm``, query and chat engines, agents, evaluators.

    Args:
        llms: The members: LlamaIndex LLMs, LangChain models and runnables, ``blender_core`` members, functions from
            text to text.
        ranker: ``"embedded"`` (default), ``"consensus"``, ``"longest"``, a PairRanker checkpoint's path or hub name,
            or a ranker. Env ``BLENDED_LLM_RANKER``.
        fuser: ``"llm"`` (default) asks the member that ranked first; a fuser; any LLM; ``None`` picks only.
        top_k: How many of the best answers are fused (3). Env ``BLENDED_LLM_TOP_K``.
        fuse_when: ``"auto"`` (default), ``"always"``, ``"never"``, a ``FusePolicy`` or a function of a
            ``FuseContext``. Tool calls, JSON, an agent's steps, verdicts, scores and rankings are never fused.
        guard: Looks a fused text over.
        timeout: Seconds each member gets, retries included (60). Env ``BLENDED_LLM_TIMEOUT``.
        deadline: Seconds for the whole call (no limit). Env ``BLENDED_LLM_DEADLINE``.
        quorum: Answers needed (1); fewer raise ``QuorumError``, which names every member's cause.
        max_retries: Further tries of a member whose error may pass (2). Members' own retries come on top: set those
            to 0 to have one retry loop.
        max_concurrency: Member calls that run at the same time over all calls of this blend.
        policy: A whole gather policy, in place of ``timeout``, ``quorum``, ``max_retries`` and ``max_concurrency``.
        gather_share: Share of the deadline after which gathering ends if the quorum is met (0.7).
        member_prior: What earlier rankings say of each member; every ranking is blended with it and added to it.
        temperature: Sent to every member in every call, where given; so are ``max_tokens`` and ``stop``, which ends
            the fused text too.
        max_tokens: Longest answer in tokens.
        stop: Stop sequences.
        model: The blend's own name in metadata (``"blended-llm"``).
        callback_manager: Hears of the blend's calls as of any LLM's, with the summed usage; members keep their own.

    The rest is as for every LLM (``system_prompt``, ``pydantic_program_mode``, ...). A response's ``raw["blend"]``
    and ``additional_kwargs["blend"]`` say who answered, won, was fused, failed and why
    (``BlendResult.to_dict()``); ``raw["usage"]`` is the sum over members and fuser. When streaming, members answer
    whole; the fused text streams, or the picked one in pieces, and the report stands on the last piece. Should a
    fusion be refused after part of it was sent, the best answer follows as a new paragraph, and
    ``rejected_characters`` in the report says how much came before.

    In a call with tools members vote on the calls, compared by name and arguments; an LLM that cannot call tools
    takes no part in it.

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> llm = BlendedLLM(llms=[MockLLM(max_tokens=1), MockLLM(max_tokens=2)], ranker="longest", fuser=None)
        >>> response = llm.complete("Capital of France?")
        >>> response.text, response.raw["blend"]["winner"]
        ('text text', 'MockLLM#2')
    """

    @classmethod
    def class_name(cls) -> str:
        """The name that stands in the serialised form."""
        return "BlendedLLM"

    # -- the interface of every LLM ----------------------------------------------------------------------

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation.

        Args:
            messages: The conversation.
            **kwargs: Call options; ``temperature``, ``max_tokens``, ``stop`` and the like go to every member, others
                to LlamaIndex members.

        Returns:
            The response; see the class for what it holds.

        Raises:
            QuorumError: Fewer members answered than the quorum.
            ConfigurationError: An option that a blend cannot have.
        """
        return self._chat(messages, **kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation in pieces; see ``chat`` and the class."""
        return self._stream_chat(messages, **kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation; members run on the event loop where they are written for it, else in threads."""
        return await self._achat(messages, **kwargs)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation in pieces, without blocking the event loop."""
        return await self._astream_chat(messages, **kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt.

        Args:
            prompt: The prompt.
            formatted: Whether ``completion_to_prompt`` was applied to it already.
            **kwargs: Call options; see ``chat``.

        Returns:
            The response; see the class for what it holds.

        Raises:
            QuorumError: Fewer members answered than the quorum.
        """
        return chat_to_completion_decorator(self._chat)(self._formatted(prompt, formatted), **kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Answer a prompt in pieces; see ``complete`` and the class."""
        return stream_chat_to_completion_decorator(self._stream_chat)(self._formatted(prompt, formatted), **kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt without blocking the event loop."""
        return await achat_to_completion_decorator(self._achat)(self._formatted(prompt, formatted), **kwargs)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Answer a prompt in pieces, without blocking the event loop."""
        stream = astream_chat_to_completion_decorator(self._astream_chat)
        return await stream(self._formatted(prompt, formatted), **kwargs)

    # -- tools -------------------------------------------------------------------------------------------

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
            "tools": describe(tools),
            "tool_required": tool_required,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tool calls of a response.

        Args:
            response: A response of the blend.
            error_on_no_tool_call: Whether an answer in text is an error.
            **kwargs: Not used; as in the base class.

        Returns:
            The calls.

        Raises:
            ValueError: There is none, and that is an error.
        """
        calls = calls_of_message(response.message)
        if not calls and error_on_no_tool_call:
            said = (response.message.content or "")[:120]
            raise ValueError(
                f"expected at least one tool call, but the blend answered in text: {said!r}; add a member that calls "
                "tools more reliably"
            )
        return [
            ToolSelection(tool_id=call.id or "", tool_name=call.name, tool_kwargs=dict(call.arguments))
            for call in calls
        ]

    # -- calls -------------------------------------------------------------------------------------------

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        call, blender = self._prepared(messages, kwargs), self._blender()
        result = call.context.run(lambda: blender.blend(call.prompt, accept=call.accept))
        return blended_response(result, model=self.model, stop=call.stop, parallel_tool_calls=call.parallel_tool_calls)

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        call = self._prepared(messages, kwargs)
        blend = self._blender().ablend(call.prompt, accept=call.accept)
        result = await asyncio.create_task(blend, context=call.context)
        return blended_response(result, model=self.model, stop=call.stop, parallel_tool_calls=call.parallel_tool_calls)

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        # prepared here, because the span is active only until the generator is returned
        call = self._prepared(messages, kwargs)

        def pieces() -> ChatResponseGen:
            writer = ResponseWriter(self.model, call.stop, call.parallel_tool_calls)
            events = cast(Any, self._blender().stream(call.prompt, accept=call.accept))
            with contextlib.closing(events):
                # the engine takes the context of the first step with it
                event: BlendEvent | None = call.context.run(next, events, None)
                while event is not None:
                    yield from writer.pieces(event)
                    event = next(events, None)

        return pieces()

    async def _astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        call = self._prepared(messages, kwargs)

        async def pieces() -> ChatResponseAsyncGen:
            writer = ResponseWriter(self.model, call.stop, call.parallel_tool_calls)
            events = cast(Any, self._blender().astream(call.prompt, accept=call.accept))
            async with contextlib.aclosing(events):
                # the engine takes the context of the first step with it
                event = await asyncio.create_task(_step(events), context=call.context)
                while event is not None:
                    for piece in writer.pieces(event):
                        yield piece
                    event = await _step(events)

        return pieces()

    def _prepared(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> PreparedCall:
        options = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": self.stop, **kwargs}
        return prepare_call(messages, options)

    def _formatted(self, prompt: str, formatted: bool) -> str:
        return prompt if formatted or self.completion_to_prompt is None else self.completion_to_prompt(prompt)


async def _step(events: AsyncIterator[BlendEvent]) -> BlendEvent | None:
    return await anext(events, None)

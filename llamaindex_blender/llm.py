"""Blend several LLMs into one LlamaIndex LLM."""

# No `from __future__ import annotations`: LlamaIndex and pydantic resolve annotations at run time.

import contextlib
import contextvars
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    LLMMetadata,
)
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import Field, field_serializer, model_validator

from blender_core.blend_fields import BlendFields
from blender_core.errors import ConfigurationError
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.fuse.protocol import Fuser
from blender_core.members.adapters import as_member
from blender_core.members.member import Member, check_options
from blender_core.runtime.contexts import aiterate_in_context, iterate_in_context
from blender_core.runtime.program_end import in_context
from blender_core.types.answer import Answer
from blender_core.types.prompt import Prompt
from llamaindex_blender.chat_llm import ChatLLM
from llamaindex_blender.counting import handlers_of_blend
from llamaindex_blender.members import KNOWN_OPTIONS, LlamaIndexMember
from llamaindex_blender.messages import calls_of_message, to_prompt
from llamaindex_blender.output import ResponseWriter, blended_response
from llamaindex_blender.serialisation import load_part, write_part
from llamaindex_blender.spans import TracedMember
from llamaindex_blender.tools import acceptance, describe, normalised_choice
from llamaindex_blender.windows import fusing_reserve, shared_window

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

__all__ = ["BlendedLLM"]

# options that members of every framework understand
_SHARED_OPTIONS = frozenset({"frequency_penalty", "max_tokens", "presence_penalty", "seed", "temperature", "top_p"})
_OF_TOOLS = frozenset({"allow_parallel_tool_calls", "tool_choice", "tool_required", "tools"})
# read by the blend, whatever the members are
_READ_HERE = _SHARED_OPTIONS | _OF_TOOLS | {"model", "response_format", "stop"}


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """Holds what the engine needs for one call.

    Attributes:
        prompt: The prompt.
        accept: The check of members' answers, or ``None``.
        context: The context in which the call runs; the blend's span is active in it.
        stop: Stop sequences.
        parallel_tool_calls: Whether the answer may have several tool calls.
    """

    prompt: Prompt
    accept: Callable[[Answer], str | None] | None
    context: contextvars.Context
    stop: tuple[str, ...]
    parallel_tool_calls: bool


def prepare_call(messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> PreparedCall:
    """Prepare one call of the engine.

    Args:
        messages: The conversation.
        options: Call options, ``tools`` and ``stop`` among them.

    Returns:
        The call.

    Raises:
        ConfigurationError: There are no messages, or ``options`` has a ``model``. Make a member with that model.
    """
    if options.get("model") is not None:
        raise ConfigurationError(
            f"model={options['model']!r} cannot be set for a call: the members are different models; "
            "make a member with that model"
        )
    left = {name: value for name, value in options.items() if value is not None}
    tools = describe(left.pop("tools", ()))
    required = bool(left.pop("tool_required", False))
    choice = normalised_choice(left.pop("tool_choice", None), required=required)
    parallel = bool(left.pop("allow_parallel_tool_calls", True))
    stop = left.pop("stop", ())
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    shared = {name: left[name] for name in _SHARED_OPTIONS & left.keys()}
    # further shared options are native too: LlamaIndex LLMs get them only from a caller who writes them
    left = {name: value for name, value in left.items() if name not in KNOWN_OPTIONS}
    if stop:
        shared["stop"] = list(stop)
    if tools:
        shared["tools"] = tools
        if choice is not None:
            shared["tool_choice"] = choice
    prompt = to_prompt(messages, shared, native_options=left, parallel_tool_calls=parallel)
    prompt = replace(prompt, structured="response_format" in left)
    return PreparedCall(prompt, acceptance(tools, choice), contextvars.copy_context(), stop, parallel)


_NAME = "blended-llm"


def _stated(member: Member) -> LLMMetadata | None:
    # LlamaIndex reads a blend's metadata in each call, on the event loop
    return member.known_metadata if isinstance(member, LlamaIndexMember) else None


def _calls_tools(member: Member, stated: LLMMetadata | None) -> bool:
    if not isinstance(member, LlamaIndexMember) or stated is None:
        return member.can_call_tools([])
    return isinstance(member.llm, FunctionCallingLLM) and stated.is_function_calling_model


def _traced(member: Member) -> TracedMember:
    return TracedMember(member, own_span=isinstance(member, LlamaIndexMember))


def _is_list(llms: Any) -> bool:
    return isinstance(llms, Sequence) and not isinstance(llms, str)


class BlendedLLM(BlendFields, ChatLLM):
    """Blends several LLMs into one: all answer, a ranker orders, the best answers are fused.

    Use it like any LLM: in ``Settings.llm``, query and chat engines, agents, evaluators.

    Args:
        llms: The members: LlamaIndex LLMs, LangChain models and runnables, ``blender_core`` members, functions from
            text to text.
        ranker, fuser, top_k, fuse_when, guard, member_prior: Who ranks, who fuses, how many answers, when; see
            ``blender_core.BlendSettings``. What a program reads is never fused: JSON, query lists, verdicts, ...
        timeout, deadline, quorum, max_retries, max_concurrency, policy, semaphore, gather_share, reserves, breaker:
            Time and failure; see ``blender_core.BlendSettings``.
        temperature: Sampling temperature, sent to every member if given.
        max_tokens: Longest answer in tokens, sent to every member if given.
        stop: Stop sequences, sent to every member if given. They end the fused text too.
        model: The blend's own name in metadata (``"blended-llm"``).
        context_window: Tokens of prompt and answer in metadata, by which query engines size their prompts. Default: see
            ``metadata``. A member whose window is too small for a call takes no part in it.
        callback_manager: Is told of the blend's calls, with the summed usage. Members keep their own managers; a
            handler of both hears of the blend's call only.

    Other arguments are those of every LLM (``system_prompt``, ``pydantic_program_mode``, ...).

    Responses: ``raw["blend"]`` and ``additional_kwargs["blend"]`` say who answered, won, was fused, or failed and why
    (``BlendResult.to_dict()``). ``raw["usage"]`` is the sum of all members and the fuser.

    Streams: members answer whole. The fused text streams; a picked text comes in pieces. The last piece has the
    report. If a fusion is rejected after a part of it was sent, the best answer follows as a new paragraph.
    ``rejected_characters`` in the report is the length of that part.

    Tools: members vote on the calls, which are compared by name and arguments. An LLM that cannot call tools is not
    asked.

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> llm = BlendedLLM(llms=[MockLLM(max_tokens=1), MockLLM(max_tokens=2)], ranker="longest", fuser=None)
        >>> response = llm.complete("Capital of France?")
        >>> response.text, response.raw["blend"]["winner"]
        ('text text', 'MockLLM#2')
    """

    _ignored_names: ClassVar[frozenset[str]] = frozenset({"class_name"})

    temperature: float | None = Field(default=None, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, gt=0)
    stop: list[str] | None = None
    model: str = _NAME
    context_window: int | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _load_llms(cls, values: Any) -> Any:
        """Accept LLMs, ranker, fuser and fuse policy in their serialised form."""
        if not isinstance(values, dict):
            return values
        loaded = {name: load_part(values[name], name) for name in ("ranker", "fuser", "fuse_when") if name in values}
        for name in ("llms", "reserves"):
            if _is_list(values.get(name)):
                loaded[name] = [load_part(llm, name) for llm in values[name]]
        return {**values, **loaded}

    # -- what the blend is -------------------------------------------------------------------------------

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order."""
        traced = cast("tuple[tuple[str, TracedMember], ...]", self._blender().members)
        return tuple((name, member.member) for name, member in traced)

    @property
    def metadata(self) -> LLMMetadata:
        """What the blend can do, whichever member answers.

        Returns:
            ``context_window``, if it is given. Else a window that half of the members have, and at least as many as
            the quorum. An LLM that fuses also reads the answers, so their length is subtracted, as far as room for a
            prompt is left. The output is the smallest that a member reports. It is a chat model. It calls functions
            if as many members as the quorum do.
        """
        # each member's metadata is read once: a nested blend reads those of all its members
        members = [(member, _stated(member)) for _, member in self.members]
        outputs = [stated.num_output for _, stated in members if stated and stated.num_output > 0]
        output = self.max_tokens or min(outputs, default=DEFAULT_NUM_OUTPUTS)
        quorum = max(1, self._blender().policy.quorum)
        callers = [_calls_tools(member, stated) for member, stated in members]
        return LLMMetadata(
            context_window=self.context_window or self._window(members, output, quorum),
            num_output=output,
            is_chat_model=True,
            is_function_calling_model=sum(callers) >= quorum,
            model_name=self.model,
        )

    def _window(self, members: Sequence[tuple[Member, LLMMetadata | None]], output: int, quorum: int) -> int:
        known = [stated.context_window if stated else member.context_window for member, stated in members]
        window = shared_window([window for window in known if window and window > 0], quorum)
        if isinstance(self._blender().fuser, LLMFuser) and self.fuse_when != "never":
            window -= fusing_reserve(window, output, min(self.top_k, len(members)))
        return window

    def _as_member(self, llm: Any) -> Any:
        return _traced(as_member(llm))

    def _as_fuser(self) -> Any:
        fuser = self.fuser
        if fuser in (None, "llm") or isinstance(fuser, str | Fuser):
            return fuser
        return LLMFuser(_traced(as_member(fuser)))

    # -- serialisation -----------------------------------------------------------------------------------

    @field_serializer("llms", "reserves")
    def _serialise_llms(self, llms: Sequence[Any]) -> list[dict[str, Any]]:
        return [write_part(llm) for llm in llms]

    @field_serializer("ranker", "fuser", "fuse_when")
    def _serialise_part(self, part: Any) -> Any:
        return write_part(part)

    def __getstate__(self) -> dict[str, Any]:
        # the base class removes what cannot be pickled, so the copy would use default settings
        whole = dict(self.__dict__)
        state = super().__getstate__()
        state["__dict__"] = dict(state["__dict__"])
        self.__dict__.update(whole)
        lost = [name for name in BlendedLLM.model_fields if name in whole and name not in state["__dict__"]]
        if lost:
            raise ConfigurationError(
                f"this blend cannot be pickled: its {lost[0]} cannot (a lambda or an open client, for example); "
                "pickle the settings and make the blend where it is needed"
            )
        return state

    @classmethod
    def class_name(cls) -> str:
        """Return the name in the serialised form."""
        return "BlendedLLM"

    # -- tools -------------------------------------------------------------------------------------------

    def _stated_tools(self, tools: Sequence["BaseTool"]) -> list[Any]:
        return describe(tools)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls of a response.

        Args:
            response: A response of the blend.
            error_on_no_tool_call: Whether an answer in text is an error.
            **kwargs: Not used; the base class has them.

        Returns:
            The calls.

        Raises:
            ValueError: There are none, and ``error_on_no_tool_call`` is true. Add a member that calls tools.
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
        call, blender = self._prepared(messages, kwargs), self._blender()
        result = await in_context(lambda: blender.ablend(call.prompt, accept=call.accept), call.context)
        return blended_response(result, model=self.model, stop=call.stop, parallel_tool_calls=call.parallel_tool_calls)

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        # prepared here, because the span is active only until this returns
        call = self._prepared(messages, kwargs)

        def pieces() -> ChatResponseGen:
            writer = ResponseWriter(self.model, call.stop, call.parallel_tool_calls)
            stream = self._blender().stream(call.prompt, accept=call.accept)
            with contextlib.closing(iterate_in_context(stream, call.context)) as events:
                for event in events:
                    yield from writer.pieces(event)

        return pieces()

    async def _astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        call = self._prepared(messages, kwargs)

        async def pieces() -> ChatResponseAsyncGen:
            writer = ResponseWriter(self.model, call.stop, call.parallel_tool_calls)
            stream = self._blender().astream(call.prompt, accept=call.accept)
            async with contextlib.aclosing(aiterate_in_context(stream, call.context)) as events:
                async for event in events:
                    for piece in writer.pieces(event):
                        yield piece

        return pieces()

    def _prepared(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> PreparedCall:
        options = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": self.stop, **kwargs}
        members = [member for _, member in self.members]
        check_options(kwargs, members, also=_READ_HERE, owner=type(self).__name__)
        call = prepare_call(messages, options)
        told = (*handlers_of_blend.get(), *self.callback_manager.handlers)
        call.context.run(handlers_of_blend.set, told)
        return call

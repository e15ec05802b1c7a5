"""``BlendedLLM``: several LLMs as one LlamaIndex LLM."""

# No `from __future__ import annotations`: LlamaIndex and pydantic resolve annotations at run time.

import asyncio
import contextlib
import contextvars
import re
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
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.loading import load_llm
from llama_index.core.schema import BaseComponent
from pydantic import field_serializer, model_validator

from blender_core.blend_fields import BlendFields
from blender_core.errors import ConfigurationError
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.fuse.policy import Decision, FuseContext, FuseWhen, is_json, resolve_fuse_when
from blender_core.fuse.protocol import Fuser
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.runtime.contexts import aiterate_in_context, iterate_in_context
from blender_core.types.answer import Answer
from blender_core.types.prompt import Prompt
from llamaindex_blender.chat_llm import ChatLLM
from llamaindex_blender.members import KNOWN_OPTIONS, LlamaIndexMember
from llamaindex_blender.messages import calls_of_message, to_prompt
from llamaindex_blender.output import ResponseWriter, blended_response
from llamaindex_blender.spans import TracedMember
from llamaindex_blender.tools import acceptance, describe, normalised_choice

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

__all__ = ["BlendedLLM"]

# what members of every framework understand
_SHARED_OPTIONS = frozenset({"frequency_penalty", "max_tokens", "presence_penalty", "seed", "temperature", "top_p"})
_FENCED = re.compile(r"```(?:json)?(.*?)```", re.DOTALL)
_AGENT_STEP = re.compile(r"^[ \t]*(?:Thought|Action|Action Input)[ \t]*:", re.MULTILINE)
_VERDICT = re.compile(r"\[\[\w+\]\]|\A\W*(?:yes|no|true|false|pass|fail)\W*\Z", re.IGNORECASE)
# forms that prompts of LlamaIndex ask for
_PARSED = {
    "a verdict": re.compile(r"\A\s*(?:YES|NO)\b"),
    "a score": re.compile(r"\A\s*\d+(?:\.\d+)?[ \t]*\n|\[RESULT\]"),
    "a ranking": re.compile(r"^Doc: ?\d+, Relevance: ?\d+|\[\d+\] ?> ?\[\d+\]", re.MULTILINE),
    "a labelled value": re.compile(r"^(?:ANSWER|JSONPath|KEYWORDS|SQLQuery):", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that is ready to be made.

    Attributes:
        prompt: What is asked.
        accept: The check that a member's answer has to pass, or ``None``.
        context: The context to make the call in; the blend's span is the active one in it.
        stop: Stop sequences.
        parallel_tool_calls: Whether the answer may hold several tool calls.
    """

    prompt: Prompt
    accept: Callable[[Answer], str | None] | None
    context: contextvars.Context
    stop: tuple[str, ...]
    parallel_tool_calls: bool


def prepare_call(messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> PreparedCall:
    """Make ready what one call needs.

    Args:
        messages: The conversation.
        options: Call options, ``tools`` and ``stop`` among them.

    Returns:
        The call.

    Raises:
        ConfigurationError: There are no messages, or an option that a blend cannot have.
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
    # the rest of the shared ones is native too: not every LlamaIndex LLM takes them, but the caller of one writes them
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


def unless_read_by_machine(fuse_when: FuseWhen) -> Callable[[FuseContext], Decision]:
    """The fuse policy of a blend: what a program reads is picked, whatever the policy says.

    LlamaIndex asks for JSON, for the steps of a ReAct agent, for verdicts, scores and rankings in plain prompts, and
    parses what comes back. A fused text would lose that form.

    Args:
        fuse_when: The policy for everything else.

    Returns:
        A function that decides.

    Raises:
        ConfigurationError: ``fuse_when`` is not a policy.
    """
    decide = resolve_fuse_when(fuse_when)

    def call(context: FuseContext) -> Decision:
        form = _machine_form(context.candidates[0])
        if form is not None:
            return Decision(False, f"the best answer is {form}, which is picked and never fused")
        return decide(context)

    return call


def _machine_form(text: str) -> str | None:
    fenced = _FENCED.search(text)
    if any(is_json(part) for part in (text, *(fenced.groups() if fenced else ()))):
        return "JSON"
    if _AGENT_STEP.search(text):
        return "an agent's step"
    if _VERDICT.search(text):
        return "a verdict"
    return next((name for name, form in _PARSED.items() if form.search(text)), None)


_NAME = "blended-llm"
# what an LLM is told about fusing, beside the prompt and the answers
_FUSING_TOKENS = 256


def _traced(member: Member) -> TracedMember:
    return TracedMember(member, own_span=isinstance(member, LlamaIndexMember))


def _is_list(llms: Any) -> bool:
    return isinstance(llms, Sequence) and not isinstance(llms, str)


def _loaded(llm: Any) -> Any:
    """An LLM out of its serialised form; anything else as it is."""
    if not isinstance(llm, dict):
        return llm
    try:
        return load_llm(llm)
    except ValueError as error:
        raise ConfigurationError(
            f"{llm.get('class_name')!r} cannot be made from its serialised form ({error}); make it yourself and pass "
            "it in llms=[...] or fuser=..."
        ) from error


def _plain(part: Any) -> dict[str, Any]:
    """A part of the blend in plain JSON types; what has no serialised form is named."""
    if isinstance(part, BaseComponent):
        return part.to_dict()
    name = getattr(part, "name", None) or getattr(part, "__name__", None)
    return {"class_name": type(part).__name__, **({"name": str(name)} if name else {})}


class BlendedLLM(BlendFields, ChatLLM):
    """Several LLMs as one LLM: all answer, a cross-encoder ranks, the best answers are fused.

    It takes the place of any LLM: ``Settings.llm``, query and chat engines, agents, evaluators.

    Args:
        llms: The members: LlamaIndex LLMs, LangChain models and runnables, ``blender_core`` members, functions from
            text to text.
        ranker, fuser, top_k, fuse_when, guard, member_prior: Who ranks, who fuses, how many answers, when; see
            ``blender_core.BlendSettings``. JSON, an agent's steps, verdicts, scores and rankings are never fused.
        timeout, deadline, quorum, max_retries, max_concurrency, policy, semaphore, gather_share: Time and failure; see
            ``blender_core.BlendSettings``.
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

    _ignored_names: ClassVar[frozenset[str]] = frozenset({"class_name"})

    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    model: str = _NAME

    @model_validator(mode="before")
    @classmethod
    def _load_llms(cls, values: Any) -> Any:
        """Take LLMs in their serialised form."""
        if not isinstance(values, dict):
            return values
        loaded = {name: _loaded(values[name]) for name in ("fuser",) if name in values}
        if _is_list(values.get("llms")):
            loaded["llms"] = [_loaded(llm) for llm in values["llms"]]
        return {**values, **loaded}

    # -- what the blend is -------------------------------------------------------------------------------

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order."""
        traced = cast("tuple[tuple[str, TracedMember], ...]", self._blender().members)
        return tuple((name, member.member) for name, member in traced)

    @property
    def metadata(self) -> LLMMetadata:
        """What a caller may count on, whichever member answers.

        Returns:
            The smallest context window and output of the members that state them, without the room that a fuser
            needs for the answers beside the prompt (at most half of the window); chat is always possible; function
            calling where as many members as the quorum asks for have it.
        """
        members = [member for _, member in self.members]
        windows = [window for window in (member.context_window for member in members) if window]
        stated = [member.metadata.num_output for member in members if isinstance(member, LlamaIndexMember)]
        output = self.max_tokens or min((tokens for tokens in stated if tokens > 0), default=DEFAULT_NUM_OUTPUTS)
        window = min(windows, default=DEFAULT_CONTEXT_WINDOW)
        if isinstance(self._blender().fuser, LLMFuser) and self.fuse_when != "never":
            window -= min(window // 2, min(self.top_k, len(members)) * output + _FUSING_TOKENS)
        needed = max(1, self._blender().policy.quorum)
        return LLMMetadata(
            context_window=window,
            num_output=output,
            is_chat_model=True,
            is_function_calling_model=sum(member.can_call_tools([]) for member in members) >= needed,
            model_name=self.model,
        )

    def _as_member(self, llm: Any) -> Any:
        return _traced(as_member(llm))

    def _as_fuser(self) -> Any:
        fuser = self.fuser
        if fuser in (None, "llm") or isinstance(fuser, str | Fuser):
            return fuser
        return LLMFuser(_traced(as_member(fuser)))

    def _as_fuse_when(self) -> Any:
        return unless_read_by_machine(self.fuse_when)

    # -- serialisation -----------------------------------------------------------------------------------

    @field_serializer("llms")
    def _serialise_llms(self, llms: list[Any]) -> list[dict[str, Any]]:
        return [_plain(llm) for llm in llms]

    @field_serializer("ranker", "fuser", "fuse_when")
    def _serialise_part(self, part: Any) -> Any:
        return part if part is None or isinstance(part, str) else _plain(part)

    def __getstate__(self) -> dict[str, Any]:
        # the base class takes what cannot be pickled out of the object itself; the copy would blend by the defaults
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
        """The name that stands in the serialised form."""
        return "BlendedLLM"

    # -- tools -------------------------------------------------------------------------------------------

    def _stated_tools(self, tools: Sequence["BaseTool"]) -> list[Any]:
        return describe(tools)

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
        return prepare_call(messages, options)

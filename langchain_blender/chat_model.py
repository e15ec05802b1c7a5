"""``BlendedLLM``: several LLMs as one LangChain chat model."""

# No `from __future__ import annotations`: `with_fallbacks` and pydantic resolve annotations at run time.

import contextlib
import contextvars
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from blender_core.blend_fields import BlendFields
from blender_core.errors import ConfigurationError
from blender_core.events import Finished
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.members.member import check_options
from blender_core.runtime.contexts import aiterate_in_context, iterate_in_context
from blender_core.runtime.program_end import in_context
from blender_core.selection import Accept
from blender_core.types.prompt import Prompt
from blender_core.types.result import BlendResult
from langchain_blender.acceptance import acceptance, wants_structure
from langchain_blender.caching import WHOLE, WholeAnswersCache, identity, is_whole
from langchain_blender.composition import model_of
from langchain_blender.errors import as_model_errors
from langchain_blender.members import TOOL_OPTIONS, LangChainMember, adapt, why_no_tools
from langchain_blender.messages import to_prompt
from langchain_blender.output import ChunkWriter, blended_message
from langchain_blender.report import Report
from langchain_blender.structured import AskedSchema, SchemaFormat, SchemaTool, read_by
from langchain_blender.tools import convert_tools, normalised_choice
from langchain_blender.tracing import RUN_KEYWORD, BlendRun, ChildRunChatModel, run_of_manager
from langchain_blender.usage import TokenIds, count_messages, count_text, counters_of

__all__ = [
    "BlendedLLM",
]

_Manager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None
_PROVIDER = "blended-llm"
# members are gathered whole, and refuse what a stream alone may be asked for
_OF_STREAMS = frozenset({"stream", "stream_options", "stream_usage"})
# read by the blend or by LangChain, whatever the members are
_READ_HERE = _OF_STREAMS | TOOL_OPTIONS | {"ls_structured_output_format", "max_tokens", "model", "temperature", "tools"}


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """Holds what the engine needs for one call.

    Attributes:
        prompt: The prompt.
        accept: The check of members' answers.
        context: The context in which the call runs.
        stop: Stop sequences.
        run: The run.
    """

    prompt: Prompt
    accept: Accept
    context: contextvars.Context
    stop: tuple[str, ...]
    run: BlendRun


def prepare_call(
    messages: Sequence[BaseMessage], stop: str | Sequence[str] | None, options: dict[str, Any], run: BlendRun
) -> PreparedCall:
    """Prepare one call of the engine.

    Args:
        messages: The conversation.
        stop: Stop sequences; a plain text is one.
        options: Call options, ``tools`` among them.
        run: The run.

    Returns:
        The call.

    Raises:
        ConfigurationError: ``options`` has a ``model``. Bind it to a member instead.
    """
    if "model" in options:
        raise ConfigurationError(
            f"model={options['model']!r} cannot be set for a call: the members are different models; "
            "bind it to a member, as in BlendedLLM(llms=[llm.bind(model=...), ...])"
        )
    asked = {key: value for key, value in options.items() if key not in _OF_STREAMS and value is not None}
    sequences = (stop,) if stop and isinstance(stop, str) else tuple(stop or ())
    if sequences:
        asked["stop"] = list(sequences)
    prompt = replace(to_prompt(messages, asked), structured=wants_structure(asked, run.schema))
    return PreparedCall(prompt, acceptance(asked, run.schema), run.context(), sequences, run)


def common_profile(profiles: Sequence[ModelProfile | None]) -> ModelProfile | None:
    """Return the capabilities that all members share.

    Args:
        profiles: One profile for each member; ``None`` for a member without one.

    Returns:
        A capability if every member has it, and the smallest of each number. ``None`` if a member has no profile.

    Examples:
        >>> common_profile([{"max_input_tokens": 8000, "tool_calling": True}, {"max_input_tokens": 4000}])
        {'max_input_tokens': 4000}
    """
    if not profiles or any(not profile for profile in profiles):
        return None
    members: list[dict[str, Any]] = [dict(profile or {}) for profile in profiles]
    common: dict[str, Any] = {}
    for key in members[0]:
        values = [member.get(key) for member in members]
        if all(isinstance(value, bool) for value in values):
            common[key] = all(values)
        elif all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            common[key] = min(cast("list[int]", values))
    return cast(ModelProfile, common) or None


class BlendedLLM(BlendFields, ChildRunChatModel):
    """Blends several LLMs into one: all answer, a ranker orders, the best answers are fused.

    Setup:
        .. code-block:: bash

            pip install "blended-llm[langchain]"

    Key init args - ensemble:
        llms: list
            The members: chat models, completion LLMs, other runnables (``.with_retry()``, ``.bind()``, chains,
            agents), LlamaIndex LLMs, ``blender_core`` members, functions from text to text.
        ranker, fuser, top_k, fuse_when, guard, member_prior:
            Who ranks, who fuses, how many answers, when; see ``blender_core.BlendSettings``.
        timeout, deadline, quorum, max_retries, max_concurrency, policy, semaphore, gather_share, reserves, breaker:
            Time and failure; see ``blender_core.BlendSettings``. A batch of b prompts calls each of m members b
            times. ``max_concurrency`` limits these b * m calls, also over copies by ``configurable_fields``.

        If ``ranker``, ``top_k``, ``timeout`` or ``deadline`` is not given, it is read from the environment:
        ``BLENDED_LLM_RANKER`` and so on.

    Key init args - completion:
        temperature, max_tokens, stop:
            Sent to every member that is a model or contains one. A setting that is bound to a member
            (``.bind(temperature=1)``) wins. ``stop`` ends the fused text too.
        model: str
            The blend's own name in traces and metadata (``"blended-llm"``).

    Key init args - tracing:
        report: str
            How much of the report is in ``response_metadata["blend"]``, and so in histories and checkpoints.
            ``"slim"`` (default): winner, decision, each member's status, score and rank. ``"full"``:
            ``BlendResult.to_dict()`` with all texts. ``"none"``: nothing. Callbacks and event streams get the full
            report of each call as the custom event ``"blend"``.
        trace_candidates: str
            Who sees members as child runs: ``"tracers"`` (default: LangSmith, run collectors), ``"all"`` callback
            handlers, or ``"none"``. With ``"all"``, handlers that count tokens count the members' and the sum.

    Instantiate:
        .. code-block:: python

            from langchain_blender import BlendedLLM

            llm = BlendedLLM(llms=[a, b, c], timeout=20, deadline=30, quorum=2)

    Invoke:
        .. code-block:: python

            llm.invoke("Why is the sky blue?").text
            (prompt | llm | StrOutputParser()).invoke({"question": "Why is the sky blue?"})

    Stream:
        Members answer whole. The fused text streams; a picked text comes in pieces. If a fusion is rejected after
        a part of it was sent, the best answer follows as a new paragraph. ``rejected_characters`` in the metadata
        is the length of that part.

        .. code-block:: python

            for chunk in llm.stream("Why is the sky blue?"):
                print(chunk.text, end="")

    Async:
        .. code-block:: python

            await llm.ainvoke("Why is the sky blue?")
            async for chunk in llm.astream("Why is the sky blue?"): ...
            await llm.abatch(["One?", "Two?"])

    Tool calling:
        Members are given the caller's own tools. They vote on the calls, which are compared by name and arguments.
        The winner's calls are returned unchanged. A member that cannot bind tools is not asked in such calls.

        .. code-block:: python

            llm.bind_tools([add]).invoke("What is 2 + 3?").tool_calls

    Structured output:
        Each member is asked by its own method, and its answer is checked against the schema. The best that meets it is
        picked; none is fused.

        .. code-block:: python

            llm.with_structured_output(Joke).invoke("Tell me a joke about cats")
            llm.with_structured_output(Joke, method="json_schema").invoke("Tell me a joke about cats")

    Token usage:
        The sum of all members, LLMs that judge, and the fuser, reported once. ``response_metadata`` has
        ``total_cost``, and the parts as ``member_usage``, ``ranker_usage`` and ``fuser_usage``.

        .. code-block:: python

            llm.invoke("Hi").usage_metadata
            # {"input_tokens": 28, "output_tokens": 5, "total_tokens": 33}

    Response metadata:
        Who answered, won, was fused, or failed and why: see ``report``. Of a picked answer also what its provider
        said: ``member_response`` (dated model version, request id, fingerprint), and ``logprobs`` if asked for.

        .. code-block:: python

            llm.invoke("Hi").response_metadata["blend"]["winner"]

    Serialization:
        As for any model outside langchain-core, the loader names the classes that it allows.

        .. code-block:: python

            from langchain_core.load import dumpd, load

            load(
                dumpd(llm),
                allowed_objects=[BlendedLLM, ChatOpenAI],
                valid_namespaces=["langchain_blender"],
                secrets_from_env=True,
            )

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> members = [FakeListChatModel(responses=[text]) for text in ("Paris", "Paris.", "Rome")]
        >>> message = BlendedLLM(llms=members, ranker="consensus", fuser=None).invoke("Capital of France?")
        >>> message.text, message.response_metadata["blend"]["winner"]
        ('Paris', 'FakeListChatModel')
    """

    _ignored_names: ClassVar[frozenset[str]] = frozenset({"api_key"})

    temperature: float | None = Field(default=None, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, gt=0)
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    model_name: str = Field(default=_PROVIDER, alias="model")
    report: Report = "slim"
    # not False: `configurable_fields` sets every field, and a set False switches streaming off
    streaming: bool | None = None

    # -- what the blend is -------------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return _PROVIDER

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Always ``True``: ``dumpd`` writes it, without secrets, if its members can be written."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Settings that LangChain would leave out of the written form."""
        # ``load`` refuses these objects instead of losing them
        objects = {name: getattr(self, name) for name in ("guard", "policy", "semaphore", "member_prior", "breaker")}
        given = {name: value for name, value in objects.items() if value is not None}
        # ``None``, no limit, is not their default
        return {"timeout": self.timeout, "deadline": self.deadline, **given}

    @property
    def _identifying_params(self) -> dict[str, Any]:
        policy = self._blender().policy
        return {
            "model_name": self.model_name,
            "members": [{"name": name, "member": identity(member)} for name, member in self.members],
            "reserves": len(self.reserves),
            "ranker": identity(self.ranker),
            "fuser": identity(self._blender().fuser),
            "top_k": self.top_k,
            "fuse_when": identity(self.fuse_when),
            "guard": identity(self.guard),
            "member_prior": identity(self.member_prior),
            "policy": identity(policy),
            "deadline": self.deadline,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            # not "stop", because the base class stores the call's stop sequences there
            "stop_sequences": self.stop,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        kwargs.pop(RUN_KEYWORD, None)
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = _PROVIDER
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        models = [
            model_of(member.runnable) if isinstance(member, LangChainMember) else None for _, member in self.members
        ]
        return common_profile([getattr(model, "profile", None) for model in models])

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text, by ``custom_get_token_ids``.

        Args:
            text: Any text.

        Returns:
            The ids.

        Raises:
            ConfigurationError: ``custom_get_token_ids`` was not given. Members have different tokenizers, and the
                base class would download GPT-2's.
        """
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        raise ConfigurationError(
            "a blend has no tokenizer of its own; pass custom_get_token_ids, or use get_num_tokens"
        )

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of a text without the network.

        Args:
            text: Any text.

        Returns:
            The count by the blend's ``custom_get_token_ids``, else the largest by those of its members. If there are
            none, four characters count as one token.
        """
        return count_text(text, self._token_counters())

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Count the tokens of a conversation without the network.

        Args:
            messages: The conversation.
            tools: Tools that are sent with it.

        Returns:
            The count, by the tokenizers of ``get_num_tokens``.
        """
        return count_messages(messages, convert_tools(tools or ()), self._token_counters())

    def _token_counters(self) -> list[TokenIds]:
        if self.custom_get_token_ids is not None:
            return [self.custom_get_token_ids]
        members = [member.runnable for _, member in self.members if isinstance(member, LangChainMember)]
        return counters_of([model_of(runnable) for runnable in members])

    def _as_member(self, llm: Any) -> Any:
        if isinstance(llm, str):
            raise ConfigurationError(f"{llm!r} is a name; pass the model: init_chat_model({llm!r})")
        member = adapt(llm)
        return llm if member is NotImplemented else member

    def _as_fuser(self) -> Any:
        return LLMFuser(LangChainMember(self.fuser)) if isinstance(self.fuser, Runnable) else self.fuser

    # -- calls -------------------------------------------------------------------------------------------

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: _Manager = None, **kwargs: Any
    ) -> ChatResult:
        call = self._prepare(messages, stop, run_manager, kwargs)
        blender = self._blender()
        with as_model_errors():
            result = call.context.run(lambda: blender.blend(call.prompt, accept=call.accept))
        call.run.tell(result)
        return self._chat_result(call, result)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: _Manager = None, **kwargs: Any
    ) -> ChatResult:
        call = self._prepare(messages, stop, run_manager, kwargs)
        blender = self._blender()
        with as_model_errors():
            result = await in_context(lambda: blender.ablend(call.prompt, accept=call.accept), call.context)
        await call.run.atell(result)
        return self._chat_result(call, result)

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: _Manager = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        call = self._prepare(messages, stop, run_manager, kwargs)
        writer = ChunkWriter(self.model_name, call.stop, self.report)
        stream = self._blender().stream(call.prompt, accept=call.accept)
        with as_model_errors(), contextlib.closing(iterate_in_context(stream, call.context)) as events:
            for event in events:
                if isinstance(event, Finished):
                    call.run.tell(event.result)
                yield from writer.chunks(event)

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: _Manager = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._prepare(messages, stop, run_manager, kwargs)
        writer = ChunkWriter(self.model_name, call.stop, self.report)
        stream = self._blender().astream(call.prompt, accept=call.accept)
        with as_model_errors():
            async with contextlib.aclosing(aiterate_in_context(stream, call.context)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        await call.run.atell(event.result)
                    for chunk in writer.chunks(event):
                        yield chunk

    def _generate_with_cache(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return BaseChatModel._generate_with_cache(self._caching_whole_answers(), messages, *args, **kwargs)

    async def _agenerate_with_cache(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return await BaseChatModel._agenerate_with_cache(self._caching_whole_answers(), messages, *args, **kwargs)

    def _caching_whole_answers(self) -> Self:
        """A copy whose cache stores whole answers only; the base class would store every answer."""
        cache = self.cache if isinstance(self.cache, BaseCache) else get_llm_cache()
        if self.cache is False or cache is None:
            return self
        return self.model_copy(update={"cache": WholeAnswersCache(cache)})

    def _prepare(
        self, messages: list[BaseMessage], stop: list[str] | None, run_manager: _Manager, kwargs: dict[str, Any]
    ) -> PreparedCall:
        options = {"temperature": self.temperature, "max_tokens": self.max_tokens, **kwargs}
        run: BlendRun = options.pop(RUN_KEYWORD, None) or run_of_manager(run_manager, self.trace_candidates)
        members = [member for _, member in self.members]
        check_options(kwargs.keys() - {RUN_KEYWORD}, members, also=_READ_HERE, owner=type(self).__name__)
        return prepare_call(messages, stop if stop is not None else self.stop, options, run)

    def _chat_result(self, call: PreparedCall, result: BlendResult) -> ChatResult:
        message = blended_message(result, model_name=self.model_name, stop=call.stop, report=self.report)
        return ChatResult(generations=[ChatGeneration(message=message, generation_info={WHOLE: is_whole(result)})])

    # -- tools -------------------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools; each member binds them in its own form when it is called.

        Args:
            tools: ``BaseTool``, functions with type hints, pydantic classes, or JSON schemas.
            tool_choice: ``"auto"``, ``"any"``, ``"none"``, or the name of a tool.
            **kwargs: Further arguments of the members' ``bind_tools``, such as ``strict``, and call options.

        Returns:
            A model with the tools bound.

        Raises:
            ConfigurationError: Something is not a tool, or no member can call tools. Add a member that can.

        Warns:
            UserWarning: Some members cannot call tools; calls with tools do not ask them.
        """
        converted = convert_tools(tools, strict=kwargs.get("strict"))
        reasons = ((name, why_no_tools(member, converted)) for name, member in self.members)
        unable = {name: reason for name, reason in reasons if reason is not None}
        why = "; ".join(f"{name}: {reason}" for name, reason in unable.items())
        if len(unable) == len(self.members):
            schema = any(isinstance(tool, SchemaTool) for tool in converted)
            remedy = 'add one that can, or pass method="json_schema"' if schema else "add one that can"
            raise ConfigurationError(f"no member can call tools: {', '.join(unable)}; {remedy} ({why})")
        if unable and converted:
            warnings.warn(
                f"{', '.join(unable)} cannot call tools and take no part in calls with tools ({why})", stacklevel=2
            )
        choice = normalised_choice(tool_choice)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return self.bind(tools=converted, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        include_raw: bool = False,
        method: Any = "function_calling",
        strict: bool | None = None,
        tools: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Answer in the form of a schema; each member is asked by its own ``with_structured_output``.

        Args:
            schema: A pydantic class, a ``TypedDict`` or a JSON schema. ``"json_mode"`` works without one.
            include_raw: Whether to return the message and parsing errors too.
            method: ``"function_calling"`` (members that cannot call tools take no part), ``"json_schema"`` or
                ``"json_mode"``. A member that does not know ``"json_schema"`` is told the schema in words.
            strict: Whether providers hold the answer to the schema; default is each member's own.
            tools: Tools that may be called instead; with ``"json_schema"`` only.
            **kwargs: Call options, such as ``temperature``.

        Returns:
            A runnable whose output meets the schema.

        Raises:
            ConfigurationError: The method is unknown, it needs a schema or its title, or no member can call tools.
        """
        asked = AskedSchema(schema, method, strict)
        traced = {"ls_structured_output_format": asked.traced()}
        if asked.method == "function_calling":
            described = convert_tools([cast(Any, schema)], strict=strict)[0]
            if "function" not in described:
                raise ConfigurationError(
                    f'{schema!r} names no tool: give the JSON schema a "title", or pass method="json_schema"'
                )
            tool = SchemaTool(described, asked)
            return read_by(
                self.bind_tools([tool], tool_choice="any", **traced, **kwargs), asked, include_raw=include_raw
            )
        options = {"response_format": SchemaFormat(asked), **traced, **kwargs}
        llm = self.bind_tools(tools, **options) if tools else self.bind(**options)
        return read_by(llm, asked, include_raw=include_raw)

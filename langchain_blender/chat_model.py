"""``BlendedLLM``: several LLMs as one LangChain chat model."""

# No `from __future__ import annotations`: `with_fallbacks` resolves those of methods that make runnables at run time.

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from blender_core.errors import ConfigurationError
from blender_core.events import BlendEvent
from blender_core.types.result import BlendResult
from langchain_blender.call import PreparedCall, prepare_call
from langchain_blender.ensemble import EnsembleChatModel
from langchain_blender.members import why_no_tools
from langchain_blender.output import ChunkWriter, blended_message
from langchain_blender.tools import convert_tools, normalised_choice
from langchain_blender.tracing import RUN_KEYWORD, BlendRun, run_of_manager

__all__ = ["BlendedLLM"]


class BlendedLLM(EnsembleChatModel):
    """Several LLMs as one chat model: all answer, a cross-encoder ranks, the best answers are fused.

    Setup:
        .. code-block:: bash

            pip install "blended-llm[langchain]"

    Key init args - ensemble:
        llms: list
            The members: chat models, completion LLMs, any other runnable (``.with_retry()``, ``.bind()``, chains,
            agents), LlamaIndex LLMs, ``blender_core`` members, functions from text to text.
        ranker: str or Ranker
            ``"embedded"`` (default), ``"consensus"``, ``"longest"``, a PairRanker checkpoint's path or hub name,
            or a ranker. Env ``BLENDED_LLM_RANKER``.
        fuser: str, Fuser, LLM or None
            ``"llm"`` (default) asks the member that ranked first; a fuser; any LLM; ``None`` picks only.
        top_k: int
            How many of the best answers are fused (3). Env ``BLENDED_LLM_TOP_K``.
        fuse_when: str or callable
            ``"auto"`` (default), ``"always"``, ``"never"``, a ``FusePolicy`` or a function of a ``FuseContext``.
            Tool calls and structured output are never fused.
        guard: FusionGuard or None
            Looks a fused text over.

    Key init args - time and failure:
        timeout: float or None
            Seconds each member gets, retries included (60). Env ``BLENDED_LLM_TIMEOUT``.
        deadline: float or None
            Seconds for the whole call (no limit). Env ``BLENDED_LLM_DEADLINE``.
        quorum: int
            Answers needed (1); fewer raise ``QuorumError``, which names every member's cause. With tools it is
            out of the members that can call them.
        max_retries: int or None
            Further tries of a member whose error may pass (2). Members' own retries, such as
            ``ChatOpenAI(max_retries=...)``, come on top: set those to 0 to have one retry loop.
        max_concurrency: int or None
            Member calls that run at the same time over all calls of this blend. A batch of b prompts makes
            b times as many calls as there are members. Copies made by ``configurable_fields`` share the limit.
        policy: GatherPolicy or None
            A whole gather policy, in place of ``timeout``, ``quorum``, ``max_retries`` and ``max_concurrency``.
        gather_share: float
            Share of the deadline after which gathering ends if the quorum is met (0.7).
        member_prior: MemberPrior or None
            What earlier rankings say of each member; every ranking is blended with it and added to it.

    Key init args - completion:
        temperature, max_tokens, stop:
            Sent to every member that is a model or holds one; what is bound to a member (``.bind(temperature=1)``)
            stays. ``stop`` ends the fused text too.
        model: str
            The blend's own name in traces and metadata (``"blended-llm"``).

    Key init args - tracing:
        trace_candidates: str
            Who sees members as child runs: ``"tracers"`` (default: LangSmith, run collectors), ``"all"`` callback
            handlers (they count members' tokens beside the sum), ``"none"``.

    Instantiate:
        .. code-block:: python

            from langchain_blender import BlendedLLM

            llm = BlendedLLM(llms=[a, b, c], timeout=20, deadline=30, quorum=2)

    Invoke:
        .. code-block:: python

            llm.invoke("Why is the sky blue?").text
            (prompt | llm | StrOutputParser()).invoke({"question": "Why is the sky blue?"})

    Stream:
        Members answer whole; the fused text streams, or the picked one in pieces. Should a fusion be refused
        after part of it was sent, the best answer follows as a new paragraph, and ``rejected_characters`` in
        the metadata says how much came before.

        .. code-block:: python

            for chunk in llm.stream("Why is the sky blue?"):
                print(chunk.text, end="")

    Async:
        .. code-block:: python

            await llm.ainvoke("Why is the sky blue?")
            async for chunk in llm.astream("Why is the sky blue?"): ...
            await llm.abatch(["One?", "Two?"])

    Tool calling:
        Members vote on the calls, compared by name and arguments; the winner's are returned as they are. A
        member that cannot bind tools takes no part in such calls.

        .. code-block:: python

            llm.bind_tools([add]).invoke("What is 2 + 3?").tool_calls

    Structured output:
        Each member's answer is checked against the schema; one that meets it is picked, none is fused.

        .. code-block:: python

            llm.with_structured_output(Joke).invoke("Tell me a joke about cats")

    Token usage:
        The sum over members and fuser, counted once.

        .. code-block:: python

            llm.invoke("Hi").usage_metadata
            # {"input_tokens": 28, "output_tokens": 5, "total_tokens": 33}

    Response metadata:
        Who answered, won, was fused, failed and why: ``BlendResult.to_dict()``.

        .. code-block:: python

            llm.invoke("Hi").response_metadata["blend"]["winner"]

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> members = [FakeListChatModel(responses=[text]) for text in ("Paris", "Paris.", "Rome")]
        >>> message = BlendedLLM(llms=members, ranker="consensus", fuser=None).invoke("Capital of France?")
        >>> message.text, message.response_metadata["blend"]["winner"]
        ('Paris', 'FakeListChatModel')
    """

    # -- calls -------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._prepare(messages, stop, run_manager, kwargs)
        blender = self._blender()
        return self._chat_result(call, call.context.run(lambda: blender.blend(call.prompt, accept=call.accept)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._prepare(messages, stop, run_manager, kwargs)
        blend = self._blender().ablend(call.prompt, accept=call.accept)
        return self._chat_result(call, await asyncio.create_task(blend, context=call.context))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._prepare(messages, stop, run_manager, kwargs)
        writer = ChunkWriter(self.model_name, call.stop)
        events = cast(Any, self._blender().stream(call.prompt, accept=call.accept))
        with contextlib.closing(events):
            # the engine takes the context of the first step with it
            event: BlendEvent | None = call.context.run(next, events, None)
            while event is not None:
                yield from writer.chunks(event)
                event = next(events, None)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._prepare(messages, stop, run_manager, kwargs)
        writer = ChunkWriter(self.model_name, call.stop)
        events = cast(Any, self._blender().astream(call.prompt, accept=call.accept))
        async with contextlib.aclosing(events):
            # the engine takes the context of the first step with it
            first = asyncio.create_task(_step(events), context=call.context)
            event: BlendEvent | None = await first
            while event is not None:
                for chunk in writer.chunks(event):
                    yield chunk
                event = await _step(events)

    def _prepare(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
        kwargs: dict[str, Any],
    ) -> PreparedCall:
        options = {"temperature": self.temperature, "max_tokens": self.max_tokens, **kwargs}
        run: BlendRun = options.pop(RUN_KEYWORD, None) or run_of_manager(run_manager, self.trace_candidates)
        return prepare_call(messages, stop if stop is not None else self.stop, options, run)

    def _chat_result(self, call: PreparedCall, result: BlendResult) -> ChatResult:
        message = blended_message(result, model_name=self.model_name, stop=call.stop)
        return ChatResult(generations=[ChatGeneration(message=message)])

    # -- tools -------------------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the members call tools; each binds them in its own way when it is called.

        Args:
            tools: Tools: ``BaseTool``, functions with type hints, pydantic classes, JSON schemas.
            tool_choice: ``"auto"``, ``"any"``, ``"none"``, or the name of a tool.
            **kwargs: Further arguments of the members' ``bind_tools``, such as ``strict``, and call options.

        Returns:
            A model with the tools bound.

        Raises:
            ConfigurationError: Something is not a tool, or no member can call tools.

        Warns:
            UserWarning: Some members cannot call tools and take no part in calls with them.
        """
        converted = convert_tools(tools, strict=kwargs.get("strict"))
        reasons = ((name, why_no_tools(member, converted)) for name, member in self.members)
        unable = {name: reason for name, reason in reasons if reason is not None}
        why = "; ".join(f"{name}: {reason}" for name, reason in unable.items())
        if len(unable) == len(self.members):
            raise ConfigurationError(f"no member can call tools: {', '.join(unable)}; add one that can ({why})")
        if unable and converted:
            warnings.warn(
                f"{', '.join(unable)} cannot call tools and take no part in calls with tools ({why})", stacklevel=2
            )
        choice = normalised_choice(tool_choice)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return self.bind(tools=converted, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Answer in the form of a schema; see ``BaseChatModel.with_structured_output``.

        Args:
            schema: A pydantic class, a ``TypedDict`` or a JSON schema.
            include_raw: Give the message and parsing errors beside what was parsed.
            **kwargs: Further arguments of the base class.

        Returns:
            A runnable that gives what the schema says.
        """
        return super().with_structured_output(schema, include_raw=include_raw, **kwargs)


async def _step(events: AsyncIterator[BlendEvent]) -> BlendEvent | None:
    return await anext(events, None)

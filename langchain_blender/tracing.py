"""Members as child runs of the blend: callbacks, tags, context, and the answers that are cached."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import _set_config_context, ensure_config, merge_configs
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.context import _configure_hooks, tracing_v2_callback_var
from langchain_core.utils.uuid import uuid7

from blender_core.types.outcome import Status

__all__ = [
    "NO_STREAM_TAG",
    "RUN_KEYWORD",
    "BlendRun",
    "ChildRunChatModel",
    "TraceCandidates",
    "WholeAnswersCache",
    "in_config",
    "is_whole",
    "member_config",
    "open_run",
    "run_of_manager",
]

TraceCandidates = Literal["all", "none", "tracers"]

# the call keyword that carries the run through the base class; never seen by members or tracers
RUN_KEYWORD = "_blend_run"
# LangGraph leaves runs with this tag out of its message stream
NO_STREAM_TAG = "nostream"


@dataclass(frozen=True, slots=True)
class BlendRun:
    """One run of the blend.

    Attributes:
        config: What members run under: callbacks, tags, metadata, ``configurable``.
        mode: Which handlers hear of members.
        schema: The schema of a structured output, where one is asked for.
    """

    config: RunnableConfig
    mode: TraceCandidates = "tracers"
    schema: Any = None

    def context(self) -> contextvars.Context:
        """A copy of the current context in which ``config`` is the ambient config.

        A member with bound tools or a retry looks its callbacks up there; without this it would attach itself
        to the caller's chain.
        """
        context = in_config(self.config)
        if self.mode != "all":
            context.run(_silence_hooks, self.mode)
        return context


def open_run(
    config: RunnableConfig | None, mode: TraceCandidates, schema: Any = None
) -> tuple[RunnableConfig, BlendRun]:
    """Fix a run's id and handlers ahead of the base class.

    Args:
        config: The caller's config.
        mode: Which handlers hear of members.
        schema: The schema of a structured output.

    Returns:
        The config to go on with, and the run.
    """
    full = ensure_config(config)
    run_id = full.get("run_id") or uuid7()
    manager = CallbackManager.configure(full.get("callbacks"))
    opened = cast(RunnableConfig, {**full, "run_id": run_id, "callbacks": manager})
    tags = [*manager.inheritable_tags, *(full.get("tags") or [])]
    metadata = {**manager.inheritable_metadata, **(full.get("metadata") or {})}
    callbacks = _child_manager(manager.inheritable_handlers, run_id, tags, metadata, mode)
    kept = {key: full[key] for key in ("configurable", "metadata", "recursion_limit") if key in full}
    child = cast(RunnableConfig, {**kept, "callbacks": callbacks})
    return opened, BlendRun(child, mode, schema)


def run_of_manager(manager: BaseRunManager | None, mode: TraceCandidates) -> BlendRun:
    """The run behind a run manager, where the call came in below ``invoke`` (``generate``).

    Args:
        manager: The run manager, ``None`` where there is none.
        mode: Which handlers hear of members.

    Returns:
        The run; it knows no ``configurable``.
    """
    if manager is None:
        callbacks = _child_manager([], None, [], {}, mode)
    else:
        callbacks = _child_manager(
            manager.inheritable_handlers,
            manager.run_id,
            manager.inheritable_tags,
            manager.inheritable_metadata,
            mode,
        )
    return BlendRun(cast(RunnableConfig, {"callbacks": callbacks}), mode)


def in_config(config: RunnableConfig) -> contextvars.Context:
    """A copy of the current context in which a config is the ambient one.

    Args:
        config: The config.

    Returns:
        The context.
    """
    context = contextvars.copy_context()
    context.run(_set_config_context, config)
    return context


def member_config(name: str, purpose: str, listeners: Sequence[BaseCallbackHandler]) -> RunnableConfig:
    """What a member's runnable is invoked with; the ambient config fills in the rest.

    Args:
        name: The member's name.
        purpose: The prompt's purpose.
        listeners: Handlers that hear this one run, and what is inside it.

    Returns:
        The config.
    """
    config: RunnableConfig = {"run_name": f"{'fuser' if purpose == 'fuse' else 'candidate'}:{name}"}
    if listeners:
        # callbacks of a config replace the ambient ones, so they are merged first
        merged = merge_configs(ensure_config(), {"callbacks": list(listeners)})
        config["callbacks"] = merged.get("callbacks")
    return config


def _child_manager(
    handlers: list[BaseCallbackHandler],
    parent_run_id: Any,
    tags: list[str],
    metadata: Mapping[str, Any],
    mode: TraceCandidates,
) -> BaseCallbackManager:
    manager = CallbackManager(handlers=[], parent_run_id=parent_run_id if mode != "none" else None)
    manager.set_handlers([handler for handler in handlers if _hears(handler, mode)], inherit=True)
    manager.add_tags([*tags, NO_STREAM_TAG], inherit=True)
    manager.add_metadata(dict(metadata), inherit=True)
    return manager


def _hears(handler: BaseCallbackHandler, mode: TraceCandidates) -> bool:
    if mode == "all":
        return True
    if mode == "none" or isinstance(handler, _StreamingCallbackHandler | _V2StreamingCallbackHandler):
        return False
    return isinstance(handler, BaseTracer | AsyncBaseTracer)


def _silence_hooks(mode: TraceCandidates) -> None:
    """Take handlers that are not to hear of members out of the context variables that would bring them back.

    ``get_usage_metadata_callback`` and others put their handler into every call that is made in their context;
    a member's tokens would be counted there beside the blend's.
    """
    for variable, *_ in _configure_hooks:
        handler = variable.get()
        if handler is not None and not _hears(handler, mode):
            variable.set(None)
    if mode == "none":
        # deferred as in langchain-core: langsmith is slow to import
        from langsmith.run_helpers import _set_tracing_context

        tracing_v2_callback_var.set(None)
        _set_tracing_context({"parent": None, "enabled": False})


# a refusal is an answer of its kind: it would come again; and who takes no part is not missed
_SETTLED = frozenset({Status.OK.value, Status.REFUSED.value, Status.UNSUPPORTED.value})


class WholeAnswersCache(BaseCache):
    """Another cache, in which only whole answers are stored.

    An answer that was made while a member was down is good enough for its own call, and no more: kept, it would
    stand in for the ensemble long after the member is back.

    Args:
        cache: The cache.

    Examples:
        >>> from langchain_core.caches import InMemoryCache
        >>> WholeAnswersCache(InMemoryCache()).lookup("prompt", "llm") is None
        True
    """

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Look an answer up."""
        return self._cache.lookup(prompt, llm_string)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Look an answer up, without blocking the event loop where the cache can."""
        return await self._cache.alookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer if it is whole."""
        if is_whole(return_val):
            self._cache.update(prompt, llm_string, return_val)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer if it is whole, without blocking the event loop where the cache can."""
        if is_whole(return_val):
            await self._cache.aupdate(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Clear the cache."""
        self._cache.clear(**kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        """Clear the cache, without blocking the event loop where the cache can."""
        await self._cache.aclear(**kwargs)


def is_whole(generations: Sequence[Generation]) -> bool:
    """Whether nothing was missing when an answer was made.

    Args:
        generations: What a blend generated.

    Returns:
        Whether no stage was degraded and every member answered, refused, or took no part.

    Examples:
        >>> from langchain_core.messages import AIMessage
        >>> made = {"degraded": False, "candidates": [{"status": "ok"}, {"status": "timeout"}]}
        >>> is_whole([ChatGeneration(message=AIMessage("Hi", response_metadata={"blend": made}))])
        False
    """
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            made = generation.message.response_metadata.get("blend") or {}
            if made.get("degraded") or any(part["status"] not in _SETTLED for part in made.get("candidates", ())):
                return False
    return True


# No `from __future__ import annotations`: pydantic and LangChain resolve these annotations at run time.


_NOT_CHOICES = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"})


class ChildRunChatModel(BaseChatModel):
    """Opens its run at every entry point and carries it, as a keyword, to where the work is done.

    Attributes:
        trace_candidates: Who sees inner calls as child runs: ``"tracers"``, ``"all"`` handlers, or ``"none"``.
    """

    trace_candidates: TraceCandidates = "tracers"

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer. See the class for what the message holds."""
        config, kwargs = self._opened(config, kwargs)
        return super().invoke(input, config, stop=stop, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer; members run on the event loop where they are written for it, else in threads."""
        config, kwargs = self._opened(config, kwargs)
        return await super().ainvoke(input, config, stop=stop, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Answer in chunks. See the class for what streams."""
        config, kwargs = self._opened(config, kwargs)
        yield from super().stream(input, config, stop=stop, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer in chunks, without blocking the event loop."""
        config, kwargs = self._opened(config, kwargs)
        async with contextlib.aclosing(cast(Any, super().astream(input, config, stop=stop, **kwargs))) as chunks:
            async for chunk in chunks:
                yield chunk

    def stream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Any = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer in typed events; see ``BaseChatModel.stream_events``."""
        if version == "v3":
            config, kwargs = self._opened(config, kwargs)
        return super().stream_events(input, config, version=version, stop=stop, **kwargs)

    def astream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Any = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer in typed events; see ``BaseChatModel.astream_events``."""
        if version == "v3":
            config, kwargs = self._opened(config, kwargs)
        return super().astream_events(input, config, version=version, stop=stop, **kwargs)

    def _opened(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> tuple[RunnableConfig, dict[str, Any]]:
        if RUN_KEYWORD in kwargs:
            return config or {}, kwargs
        structured = kwargs.get("ls_structured_output_format") or kwargs.get("structured_output_format") or {}
        config, run = open_run(config, self.trace_candidates, structured.get("schema"))
        return config, {**kwargs, RUN_KEYWORD: run}

    # the base class stores every answer; a copy of the model, with a cache that is choosy, makes it store whole ones

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return BaseChatModel._generate_with_cache(self._choosy(), messages, stop, run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await BaseChatModel._agenerate_with_cache(self._choosy(), messages, stop, run_manager, **kwargs)

    def _choosy(self) -> Self:
        cache = self.cache if isinstance(self.cache, BaseCache) else get_llm_cache()
        if self.cache is False or cache is None:
            return self
        return self.model_copy(update={"cache": WholeAnswersCache(cache)})

    # the run travels as a keyword; neither traces nor cache keys may see it

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop(RUN_KEYWORD, None)
        return super()._get_invocation_params(stop=stop, **kwargs)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        run = kwargs.pop(RUN_KEYWORD, None)
        key = super()._get_llm_string(stop=stop, **kwargs)
        # members answer by what is configurable; a thread's id and the framework's own entries do not matter
        configurable = {} if run is None else run.config.get("configurable", {})
        chosen = sorted((k, v) for k, v in configurable.items() if not k.startswith("__") and k not in _NOT_CHOICES)
        return f"{key}|{chosen}" if chosen else key

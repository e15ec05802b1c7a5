"""Run members as child runs of the blend: callbacks, tags, context."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
)
from langchain_core.callbacks.base import Callbacks
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import _set_config_context, ensure_config, merge_configs
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.utils.uuid import uuid7

from blender_core.redaction import without_secrets
from blender_core.types.result import BlendResult
from langchain_blender.report import REPORT_EVENT
from langchain_blender.traced_usage import count_once

__all__ = [
    "NO_STREAM_TAG",
    "RUN_KEYWORD",
    "BlendRun",
    "ChildRunChatModel",
    "TraceCandidates",
    "in_config",
    "member_config",
    "open_run",
    "run_of_manager",
]

TraceCandidates = Literal["all", "none", "tracers"]

# the keyword that carries the run through the base class; members and tracers never see it
RUN_KEYWORD = "_blend_run"
# LangGraph does not show runs with this tag in its message stream
NO_STREAM_TAG = "nostream"
# purpose of a prompt -> what its member is called in a trace
_ROLES = {"fuse": "fuser", "judge": "judge"}


@dataclass(frozen=True, slots=True)
class BlendRun:
    """Holds one run of the blend.

    Attributes:
        config: The config of the members: callbacks, tags, metadata, ``configurable``.
        mode: Which handlers are told of members.
        schema: The schema of a structured output, or ``None``.
        handlers: The handlers of the blend's run.
        run_id: Its id.
    """

    config: RunnableConfig
    mode: TraceCandidates = "tracers"
    schema: Any = None
    handlers: tuple[BaseCallbackHandler, ...] = ()
    run_id: UUID | None = None

    def tell(self, result: BlendResult) -> None:
        """Send the whole report to callbacks, as a custom event of the run."""
        if self.handlers:
            manager = CallbackManager(list(self.handlers))
            manager.on_custom_event(REPORT_EVENT, result.to_dict(), run_id=self.run_id)

    async def atell(self, result: BlendResult) -> None:
        """Send the whole report to callbacks; see ``tell``."""
        if self.handlers:
            manager = AsyncCallbackManager(list(self.handlers))
            await manager.on_custom_event(REPORT_EVENT, result.to_dict(), run_id=self.run_id)

    def context(self) -> contextvars.Context:
        """Return a copy of the current context in which ``config`` is the current config.

        Members with bound tools or a retry read their callbacks from it. They would report to the caller's chain
        otherwise.
        """
        context = in_config(self.config)
        if self.mode != "all":
            context.run(_silence_hooks, self.mode)
        return context


def open_run(
    config: RunnableConfig | None, mode: TraceCandidates, schema: Any = None, callbacks: Callbacks = None
) -> tuple[RunnableConfig, BlendRun]:
    """Set the id and handlers of a run before the base class does.

    Args:
        config: The caller's config.
        mode: Which handlers are told of members.
        schema: The schema of a structured output, or ``None``.
        callbacks: The model's own callbacks.

    Returns:
        The config for the base class, and the run.
    """
    full = ensure_config(config)
    run_id = full.get("run_id") or uuid7()
    manager = CallbackManager.configure(full.get("callbacks"), callbacks)
    opened = cast(RunnableConfig, {**full, "run_id": run_id, "callbacks": manager})
    tags = [*manager.inheritable_tags, *(full.get("tags") or [])]
    metadata = {**manager.inheritable_metadata, **(full.get("metadata") or {})}
    members = _child_manager(manager.inheritable_handlers, run_id, tags, metadata, mode)
    count_once(manager, members, run_id)
    kept = {key: full[key] for key in ("configurable", "metadata", "recursion_limit") if key in full}
    child = cast(RunnableConfig, {**kept, "callbacks": members})
    return opened, BlendRun(child, mode, schema, tuple(manager.handlers), run_id)


def run_of_manager(manager: BaseRunManager | None, mode: TraceCandidates) -> BlendRun:
    """Make the run of a call that did not come through ``invoke``, such as ``generate``.

    Args:
        manager: The run manager, or ``None``.
        mode: Which handlers are told of members.

    Returns:
        The run, without ``configurable``.
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
    config = cast(RunnableConfig, {"callbacks": callbacks})
    if manager is None:
        return BlendRun(config, mode)
    count_once(manager, callbacks, manager.run_id)
    return BlendRun(config, mode, None, tuple(manager.handlers), manager.run_id)


def in_config(config: RunnableConfig) -> contextvars.Context:
    """Return a copy of the current context in which a config is the current one.

    Args:
        config: The config.

    Returns:
        The context.
    """
    context = contextvars.copy_context()
    context.run(_set_config_context, config)
    return context


def member_config(name: str, purpose: str, listeners: Sequence[BaseCallbackHandler]) -> RunnableConfig:
    """Make the config of a member's runnable; LangChain adds the rest from the current config.

    Args:
        name: The member's name.
        purpose: The prompt's purpose.
        listeners: Handlers for this one run and its child runs.

    Returns:
        The config.
    """
    config: RunnableConfig = {"run_name": f"{_ROLES.get(purpose, 'candidate')}:{name}"}
    if listeners:
        # callbacks of a config replace those of the current config, so they are merged first
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
    manager.add_tags(list(dict.fromkeys([*tags, NO_STREAM_TAG])), inherit=True)
    manager.add_metadata(dict(metadata), inherit=True)
    return manager


def _hears(handler: BaseCallbackHandler, mode: TraceCandidates) -> bool:
    if mode == "all":
        return True
    if mode == "none" or isinstance(handler, _StreamingCallbackHandler | _V2StreamingCallbackHandler):
        return False
    return isinstance(handler, BaseTracer | AsyncBaseTracer)


def _silence_hooks(mode: TraceCandidates) -> None:
    """Remove handlers that are not told of members from context variables.

    ``get_usage_metadata_callback`` and others add their handler to every call in their context. They would count the
    tokens of members and of the blend.
    """
    # deferred: it imports LangSmith's tracer, as langchain-core does at a call
    from langchain_core.tracers.context import _configure_hooks, tracing_v2_callback_var

    for variable, *_ in _configure_hooks:
        handler = variable.get()
        if handler is not None and not _hears(handler, mode):
            variable.set(None)
    if mode == "none":
        # deferred as in langchain-core: langsmith is slow to import
        from langsmith.run_helpers import _set_tracing_context

        tracing_v2_callback_var.set(None)
        _set_tracing_context({"parent": None, "enabled": False})


_NOT_CHOICES = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"})


class ChildRunChatModel(BaseChatModel):
    """Opens a run in every public method, and passes it on as a keyword.

    Attributes:
        trace_candidates: Who sees members as child runs: ``"tracers"``, ``"all"`` handlers, or ``"none"``.
    """

    trace_candidates: TraceCandidates = "tracers"

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Answer; the class says what the message holds."""
        return super().invoke(input, **self._opened(config, kwargs))

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Answer without blocking the event loop; members without asynchronous code run in threads."""
        return await super().ainvoke(input, **self._opened(config, kwargs))

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Answer in chunks; the class says what streams."""
        yield from super().stream(input, **self._opened(config, kwargs))

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer in chunks without blocking the event loop."""
        stream = super().astream(input, **self._opened(config, kwargs))
        async with contextlib.aclosing(cast(Any, stream)) as chunks:
            async for chunk in chunks:
                yield chunk

    def stream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, version: Any = "v2", **kwargs: Any
    ) -> Any:
        """Answer in typed events; see ``BaseChatModel.stream_events``."""
        arguments = self._opened(config, kwargs) if version == "v3" else {**kwargs, "config": config}
        return super().stream_events(input, version=version, **arguments)

    def astream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, version: Any = "v2", **kwargs: Any
    ) -> Any:
        """Answer in typed events on the event loop; see ``BaseChatModel.astream_events``."""
        arguments = self._opened(config, kwargs) if version == "v3" else {**kwargs, "config": config}
        return super().astream_events(input, version=version, **arguments)

    def _opened(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keywords of the base class, with the run among them."""
        if RUN_KEYWORD in kwargs:
            return {**kwargs, "config": config or {}}
        structured = kwargs.get("ls_structured_output_format") or kwargs.get("structured_output_format") or {}
        config, run = open_run(config, self.trace_candidates, structured.get("schema"), self.callbacks)
        return {**kwargs, "config": config, RUN_KEYWORD: run}

    # neither traces nor cache keys may contain the run

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop(RUN_KEYWORD, None)
        params: dict[str, Any] = without_secrets(super()._get_invocation_params(stop=stop, **kwargs))
        return params

    @cached_property
    def _serialized(self) -> dict[str, Any]:
        # handlers are told of it; ``dumps`` still writes headers, as for any model
        shown: dict[str, Any] = without_secrets(super()._serialized)
        return shown

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        run = kwargs.pop(RUN_KEYWORD, None)
        # not the serialized form, which does not tell two rankers or functions apart
        key = str(sorted({**self._get_invocation_params(stop=stop, **kwargs), **kwargs}.items()))
        # members' answers depend on what is configurable, but not on a thread's id or LangGraph's own entries
        configurable = {} if run is None else run.config.get("configurable", {})
        chosen = sorted((k, v) for k, v in configurable.items() if not k.startswith("__") and k not in _NOT_CHOICES)
        # hashed, because both may hold headers, and a cache may be a file
        return f"blend-{hashlib.sha256(f'{key}|{chosen}'.encode('utf-8', 'surrogatepass')).hexdigest()}"

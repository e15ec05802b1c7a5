"""Members as child runs: who hears of them, and in what context they run.

A chat model's run manager has no children of its own, and ``stream`` does not even hand it to ``_stream``. So
the blend opens its run before the base class does: it fixes the run's id and the handlers, and builds from them
the config that members run under.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import _set_config_context, ensure_config, merge_configs
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.context import _configure_hooks, tracing_v2_callback_var
from langchain_core.utils.uuid import uuid7

__all__ = [
    "NO_STREAM_TAG",
    "RUN_KEYWORD",
    "BlendRun",
    "TraceCandidates",
    "in_config",
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

"""Let tracers count each token once: on the runs of members, not again on the run of the blend.

LangSmith adds the usage of child runs to that of their parent. The message that a caller gets holds the sum.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import subtract_usage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer

from langchain_blender.messages import usage_metadata
from langchain_blender.usage import UsageCounter

__all__ = ["count_once"]

# run of a blend -> what its members' runs say; an entry ends with its call
_traced: weakref.WeakValueDictionary[UUID, UsageCounter] = weakref.WeakValueDictionary()


def count_once(manager: BaseCallbackManager | BaseRunManager, members: BaseCallbackManager, run_id: UUID) -> None:
    """Make tracers of a blend's run leave out the tokens that members' runs tell them.

    Args:
        manager: The manager of the blend's run. Its tracers are replaced by views of them.
        members: The manager of members' runs. It gets a counter.
        run_id: The blend's run.
    """
    # deferred: it imports LangSmith's tracer, as langchain-core does at a call
    from langchain_core.tracers.context import _configure_hooks

    heard = [handler for handler in members.handlers if isinstance(handler, BaseTracer | AsyncBaseTracer)]
    if not heard:
        return
    counter = UsageCounter()
    _traced[run_id] = counter
    members.add_handler(counter, inherit=True)
    # LangChain adds a handler of a context variable again, unless it finds the object itself
    fixed = [variable.get() for variable, *_ in _configure_hooks]

    def view(handler: BaseCallbackHandler) -> BaseCallbackHandler:
        seen = any(handler is other for other in heard) and all(handler is not other for other in fixed)
        return _view(handler) if seen else handler

    manager.handlers = [view(handler) for handler in manager.handlers]
    # the counter is among them to live as long as the run; a model's run has no child runs but ours
    manager.inheritable_handlers = [*map(view, manager.inheritable_handlers), counter]


class _View:
    """Tells a tracer of a blend's tokens without those of its members."""

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> Any:
        return super().on_llm_end(_own(response, run_id), run_id=run_id, **kwargs)  # type: ignore[misc]


class _AsyncView:
    """The same for an asynchronous tracer."""

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> Any:
        return await super().on_llm_end(_own(response, run_id), run_id=run_id, **kwargs)  # type: ignore[misc]


def _view(tracer: BaseCallbackHandler) -> BaseCallbackHandler:
    """A tracer of the same class that shares the tracer's whole state."""
    if isinstance(tracer, _View | _AsyncView):
        return tracer
    view: BaseCallbackHandler = object.__new__(_class_of_view(type(tracer)))  # type: ignore[arg-type]
    view.__dict__ = tracer.__dict__
    return view


@functools.lru_cache(maxsize=64)
def _class_of_view(kind: type[BaseCallbackHandler]) -> type[BaseCallbackHandler]:
    mixin = _AsyncView if issubclass(kind, AsyncBaseTracer) else _View
    return type(kind.__name__, (mixin, kind), {"__module__": kind.__module__})


def _own(response: LLMResult, run_id: UUID) -> LLMResult:
    counter = _traced.get(run_id)
    if counter is None or counter.usage is None:
        return response
    told = usage_metadata(counter.usage)
    generations = [[_without(each, told) for each in some] for some in response.generations]
    return response.model_copy(update={"generations": generations})


def _without(generation: Any, told: Any) -> Any:
    message = generation.message if isinstance(generation, ChatGeneration) else None
    if not isinstance(message, AIMessage) or message.usage_metadata is None:
        return generation
    usage = subtract_usage(message.usage_metadata, told)
    return generation.model_copy(update={"message": message.model_copy(update={"usage_metadata": usage})})

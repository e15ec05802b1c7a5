"""Find and change the model inside a composed runnable, and find out how to call the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel, BaseLanguageModel, SimpleChatModel
from langchain_core.output_parsers import BaseOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    Runnable,
    RunnableAssign,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable

from blender_core.errors import UnsupportedError
from blender_core.members.member import Member

__all__ = [
    "RunnableMember",
    "change_model",
    "first_step",
    "holds_graph",
    "is_async_only",
    "is_native_async",
    "model_of",
    "models_of",
    "stated_name",
]

Change = Callable[[Runnable[Any, Any]], Runnable[Any, Any]]


def model_of(runnable: Runnable[Any, Any]) -> BaseLanguageModel[Any] | None:
    """Find the model that answers: the runnable, or one in a binding, a retry or at a chain's end.

    Args:
        runnable: Any runnable.

    Returns:
        The model, the first one of fallbacks; ``None`` if the runnable shows none.
    """
    part = _answering_part(runnable)
    return part if isinstance(part, BaseLanguageModel) else None


def models_of(runnable: Runnable[Any, Any]) -> list[BaseLanguageModel[Any] | None]:
    """Find all models that may answer: the one of ``model_of``, and its fallbacks.

    Args:
        runnable: Any runnable.

    Returns:
        The models, at least one; ``None`` for a branch that shows none.
    """
    if isinstance(runnable, RunnableWithFallbacks):
        return [model for branch in runnable.runnables for model in models_of(branch)]
    if isinstance(runnable, RunnableBindingBase):
        return models_of(runnable.bound)
    return [model_of(runnable)]


def stated_name(runnable: Runnable[Any, Any]) -> str:
    """Return the name of a runnable that shows no model.

    ``init_chat_model`` makes one whose model is made at its call.

    Args:
        runnable: Any runnable.

    Returns:
        The name of the model that it makes by default, else its own name.
    """
    part = _answering_part(runnable)
    settings = getattr(part, "_default_config", None)
    name = settings.get("model") if isinstance(settings, Mapping) else None
    if isinstance(name, str) and name:
        return name
    try:
        return runnable.get_name()
    except Exception:
        # without a model every attribute of such a runnable raises
        return type(part).__name__


def change_model(runnable: Runnable[Any, Any], change: Change, *, verbatim: bool = False) -> Runnable[Any, Any] | None:
    """Copy a runnable with another model that answers.

    Args:
        runnable: Any runnable; not changed.
        change: Makes the new model from the old. A fallback for which it raises ``UnsupportedError`` is left out.
        verbatim: Whether the output must be the model's message. A chain that ends in a parser then does not count.

    Returns:
        The copy; ``None`` if the runnable shows no such model.
    """
    if isinstance(runnable, BaseLanguageModel):
        return change(runnable)
    if isinstance(runnable, DynamicRunnable):
        # the current config selects the model
        inner, _ = runnable.prepare()
        return change_model(inner, change, verbatim=verbatim)
    if isinstance(runnable, RunnableBindingBase):
        bound = change_model(runnable.bound, change, verbatim=verbatim)
        return None if bound is None else runnable.model_copy(update={"bound": bound})
    if isinstance(runnable, RunnableWithFallbacks):
        return _change_fallbacks(runnable, change, verbatim)
    if isinstance(runnable, RunnableSequence):
        place = _answering_step(runnable)
        if verbatim and place != len(runnable.steps) - 1:
            return None
        step = change_model(runnable.steps[place], change, verbatim=verbatim)
        if step is None:
            return None
        steps = [*runnable.steps[:place], step, *runnable.steps[place + 1 :]]
        return RunnableSequence(*steps, name=runnable.name)
    return change(runnable) if _makes_models(runnable) else None


def first_step(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return the part of a runnable that takes the input.

    Args:
        runnable: Any runnable.

    Returns:
        The innermost first part.
    """
    return _innermost(runnable, lambda sequence: sequence.first)


def _completes_natively(model: BaseLanguageModel[Any]) -> bool:
    # deferred: most members are chat models, and this imports yaml and a retry library
    from langchain_core.language_models import LLM, BaseLLM

    if isinstance(model, LLM):
        return type(model)._acall is not LLM._acall or type(model)._agenerate is not LLM._agenerate
    return not isinstance(model, BaseLLM) or type(model)._agenerate is not BaseLLM._agenerate


def is_native_async(runnable: Runnable[Any, Any]) -> bool:
    """Tell whether ``ainvoke`` runs on the event loop, not as ``invoke`` in a thread.

    Args:
        runnable: Any runnable.

    Returns:
        ``True`` if every part does.
    """
    if isinstance(runnable, BaseChatModel):
        # SimpleChatModel's uses a thread of the default pool too
        return type(runnable)._agenerate not in (BaseChatModel._agenerate, SimpleChatModel._agenerate)
    if isinstance(runnable, BaseLanguageModel):
        return _completes_natively(runnable)
    if isinstance(runnable, RunnableLambda):
        return hasattr(runnable, "afunc")
    if isinstance(runnable, RunnableGenerator):
        return hasattr(runnable, "_atransform")
    if isinstance(runnable, BaseRetriever):
        return type(runnable)._aget_relevant_documents is not BaseRetriever._aget_relevant_documents
    parts = _parts(runnable)
    if parts:
        return all(is_native_async(part) for part in parts)
    return type(runnable).ainvoke is not Runnable.ainvoke


def holds_graph(runnable: Runnable[Any, Any]) -> bool:
    """Tell whether a part is a LangGraph graph, whose ``stream`` yields states, not text.

    Args:
        runnable: Any runnable.

    Returns:
        ``True`` if any part is.
    """
    if any(cls.__module__.split(".")[0] == "langgraph" for cls in type(runnable).__mro__):
        return True
    return any(holds_graph(part) for part in _parts(runnable))


def is_async_only(runnable: Runnable[Any, Any]) -> bool:
    """Tell whether ``invoke`` cannot work because a part is an asynchronous function.

    Args:
        runnable: Any runnable.

    Returns:
        ``True`` if any part is.
    """
    if isinstance(runnable, RunnableLambda):
        return hasattr(runnable, "afunc") and not hasattr(runnable, "func")
    return any(is_async_only(part) for part in _parts(runnable))


def _change_fallbacks(
    runnable: RunnableWithFallbacks[Any, Any], change: Change, verbatim: bool
) -> Runnable[Any, Any] | None:
    """Change the branches, and leave those out that cannot be; ``None`` if the first one cannot."""
    first = change_model(runnable.runnable, change, verbatim=verbatim)
    if first is None:
        return None
    usable = []
    for fallback in runnable.fallbacks:
        with contextlib.suppress(UnsupportedError):
            branch = change_model(fallback, change, verbatim=verbatim)
            if branch is not None:
                usable.append(branch)
    return runnable.model_copy(update={"runnable": first, "fallbacks": usable})


def _parts(runnable: Runnable[Any, Any]) -> list[Runnable[Any, Any]]:
    if isinstance(runnable, RunnableSequence):
        return list(runnable.steps)
    if isinstance(runnable, RunnableBindingBase):
        return [runnable.bound]
    if isinstance(runnable, RunnableWithFallbacks):
        return list(runnable.runnables)
    if isinstance(runnable, RunnableParallel):
        return list(runnable.steps__.values())
    if isinstance(runnable, RunnableAssign):
        return [runnable.mapper]
    if isinstance(runnable, DynamicRunnable):
        return [runnable.default]
    return []


def _makes_models(runnable: Runnable[Any, Any]) -> bool:
    """Tell whether it makes a model at its call; such classes are private to ``langchain``."""
    return callable(getattr(runnable, "bind_tools", None))


def _answering_part(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return _innermost(runnable, lambda sequence: sequence.steps[_answering_step(sequence)])


def _innermost(
    runnable: Runnable[Any, Any], step_of: Callable[[RunnableSequence[Any, Any]], Runnable[Any, Any]]
) -> Runnable[Any, Any]:
    """Remove bindings, fallbacks and choices, and take one step of each sequence."""
    if isinstance(runnable, RunnableSequence):
        return _innermost(step_of(runnable), step_of)
    if isinstance(runnable, RunnableBindingBase):
        return _innermost(runnable.bound, step_of)
    if isinstance(runnable, RunnableWithFallbacks):
        return _innermost(runnable.runnable, step_of)
    if isinstance(runnable, DynamicRunnable):
        return _innermost(runnable.default, step_of)
    return runnable


def _answering_step(sequence: RunnableSequence[Any, Any]) -> int:
    place = len(sequence.steps) - 1
    while place > 0 and isinstance(sequence.steps[place], BaseOutputParser):
        place -= 1
    return place


class RunnableMember(Member):
    """Base of members that run a LangChain runnable; knows how the runnable can be called."""

    _async_only: bool = False

    def _runs(self, runnable: Runnable[Any, Any]) -> None:
        """Find out how the runnable can be called; constructors call this."""
        self.blocks_event_loop = not is_native_async(runnable)
        self._async_only = is_async_only(runnable)

    @property
    def has_native_sync(self) -> bool:
        """Whether ``invoke`` works."""
        return not self._async_only

    @property
    def has_native_async(self) -> bool:
        """Whether ``ainvoke`` runs on the event loop."""
        return self._async_only or not self.blocks_event_loop

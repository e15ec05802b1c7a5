"""Find out whether an LLM's asynchronous methods are asynchronous in name only."""

from __future__ import annotations

import dis
import inspect
from types import CodeType, FunctionType
from typing import Any

from llama_index.core.base.llms.base import BaseLLM

__all__ = ["awaits", "blocks_event_loop"]

_MAX_DEPTH = 8


def blocks_event_loop(llm: BaseLLM) -> bool:
    """Whether ``achat`` does its work on the event loop.

    Core's ``CustomLLM`` and mocks, and integrations built on them, call ``chat`` inside ``achat``. A coroutine
    function that never awaits cannot give the loop back, so its compiled code tells.

    Args:
        llm: Any LLM.

    Returns:
        Whether it does; ``False`` where the code cannot be seen.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> blocks_event_loop(MockLLM())
        True
    """
    for cls in type(llm).__mro__:
        function = _written("achat", cls.__dict__.get("achat"), 0)
        if function is None:
            continue
        if not inspect.iscoroutinefunction(function):
            return False
        if not awaits(function.__code__):
            return True
        if "super" not in function.__code__.co_names:
            return False
        # it waits for what the base class does
    return False


def _written(name: str, method: Any, depth: int) -> FunctionType | None:
    """The function as it was written, out of the wrappers of spans and callbacks."""
    if depth > _MAX_DEPTH:
        return None
    wrapped = getattr(method, "__wrapped__", None)
    if not isinstance(method, FunctionType):
        return None if wrapped is None else _written(name, wrapped, depth + 1)
    inner = [cell.cell_contents for cell in method.__closure__ or () if _is_filled(cell)]
    for candidate in [wrapped, *inner]:
        if candidate is not method and getattr(candidate, "__name__", None) == name:
            found = _written(name, candidate, depth + 1)
            if found is not None:
                return found
    return method


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def awaits(code: CodeType) -> bool:
    """Whether a coroutine's compiled code waits for anything; one that never does cannot give the event loop back.

    Args:
        code: The ``__code__`` of a coroutine function.

    Returns:
        Whether it awaits, or iterates asynchronously.
    """
    return any(instruction.opname in ("GET_AWAITABLE", "GET_ANEXT") for instruction in dis.get_instructions(code))

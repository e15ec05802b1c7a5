"""Find out whether an LLM's asynchronous methods block the event loop."""

from __future__ import annotations

import dis
import inspect
from types import CodeType, FunctionType
from typing import Any

from llama_index.core.base.llms.base import BaseLLM

__all__ = ["awaits", "blocks_event_loop"]

_MAX_DEPTH = 8


def blocks_event_loop(llm: BaseLLM) -> bool:
    """Tell whether ``achat`` blocks the event loop.

    Core's ``CustomLLM``, its mocks, and integrations built on them call ``chat`` inside ``achat``. A coroutine
    function that never awaits blocks the loop, and its compiled code shows that.

    Args:
        llm: Any LLM.

    Returns:
        ``True`` if it blocks; ``False`` if it does not, or if its code cannot be inspected.

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
        # it awaits the method of the base class
    return False


def _written(name: str, method: Any, depth: int) -> FunctionType | None:
    """Return the function inside the wrappers of spans and callbacks."""
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
    """Tell whether a coroutine awaits anything; one that never does blocks the event loop.

    Args:
        code: The ``__code__`` of a coroutine function.

    Returns:
        ``True`` if it awaits, or iterates asynchronously.
    """
    return any(instruction.opname in ("GET_AWAITABLE", "GET_ANEXT") for instruction in dis.get_instructions(code))

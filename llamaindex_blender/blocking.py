"""Find out whether an LLM's asynchronous methods block the event loop."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.llms.custom import CustomLLM

__all__ = ["awaits", "blocks_event_loop", "is_of_custom_llm", "predicts_in_thread"]

_MAX_DEPTH = 8


def blocks_event_loop(llm: BaseLLM, method: str = "achat") -> bool:
    """Tell whether an asynchronous method blocks the event loop.

    Core's ``CustomLLM``, its mocks, and integrations built on them call ``chat`` inside ``achat``. A coroutine
    function that never awaits blocks the loop, and its compiled code shows that.

    Args:
        llm: Any LLM.
        method: ``"achat"``, ``"acomplete"``, ``"astream_chat"`` or ``"astream_complete"``.

    Returns:
        ``True`` if it blocks; ``False`` if it does not, or if its code cannot be inspected.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> blocks_event_loop(MockLLM())
        True
    """
    for function in _definitions(llm, method):
        if not inspect.iscoroutinefunction(function):
            return False
        if not awaits(function.__code__):
            return True
        if "super" not in function.__code__.co_names:
            return False
        # it awaits the method of the base class
    return False


def is_of_custom_llm(llm: BaseLLM, method: str) -> bool:
    """Tell whether an LLM has a method from ``CustomLLM``, where chat methods call completion methods.

    Args:
        llm: Any LLM.
        method: The method's name.

    Returns:
        Whether it does; core wraps methods anew in each class, so their code is compared.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> is_of_custom_llm(MockLLM(), "chat"), is_of_custom_llm(MockLLM(), "complete")
        (True, False)
    """
    own, base = _written(method, getattr(type(llm), method, None), 0), _written(method, getattr(CustomLLM, method), 0)
    return isinstance(llm, CustomLLM) and own is not None and base is not None and own.__code__ is base.__code__


def predicts_in_thread(llm: BaseLLM) -> bool:
    """Tell whether ``apredict`` blocks the event loop; it calls ``achat`` or ``acomplete``.

    Args:
        llm: Any LLM.

    Returns:
        Whether it blocks.
    """
    try:
        chats = llm.metadata.is_chat_model
    except Exception:
        # it asks its server, which may be down
        chats = True
    return blocks_event_loop(llm, "achat" if chats else "acomplete")


def _definitions(llm: BaseLLM, method: str) -> Iterator[FunctionType]:
    for cls in type(llm).__mro__:
        function = _written(method, cls.__dict__.get(method), 0)
        if function is not None:
            yield function


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
        ``True`` if it awaits, or iterates asynchronously; the functions inside it count too.
    """
    inner = any(isinstance(part, CodeType) and awaits(part) for part in code.co_consts)
    opcodes = ("GET_AWAITABLE", "GET_ANEXT")
    return inner or any(instruction.opname in opcodes for instruction in dis.get_instructions(code))

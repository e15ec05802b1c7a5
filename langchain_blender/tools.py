"""Convert the tools of a call to forms that members read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from blender_core.errors import ConfigurationError

__all__ = [
    "DescribedTool",
    "convert_tools",
    "normalised_choice",
    "own_tools",
]

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool


class DescribedTool(dict[str, Any]):
    """Holds a tool in the OpenAI form, which every member reads, and the tool as the caller gave it.

    LangChain members get the caller's tool, because much of it has no OpenAI form: ``BaseTool.extras``, and what each
    model makes of a class or a function.

    Args:
        described: The tool in the OpenAI form.
        own: The tool as the caller gave it.
    """

    def __init__(self, described: Mapping[str, Any], own: Tool) -> None:
        super().__init__(described)
        self.own = own

    def __copy__(self) -> DescribedTool:
        return DescribedTool(self, self.own)

    def __deepcopy__(self, memo: Any) -> DescribedTool:
        # the caller's tool may hold a client or a lock
        return DescribedTool(copy.deepcopy(dict(self), memo), self.own)

    def __reduce__(self) -> tuple[Any, ...]:
        # the caller's tool may be a local function, which cannot be pickled
        return dict, (dict(self),)


def own_tools(tools: Sequence[dict[str, Any]]) -> list[Tool]:
    """Return tools for a LangChain member.

    Args:
        tools: The tools of a call.

    Returns:
        Each as the caller gave it. Dicts are copies, so that members cannot change each other's.

    Examples:
        >>> def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> own_tools(convert_tools([add])) == [add]
        True
    """
    given = (tool.own if isinstance(tool, DescribedTool) else tool for tool in tools)
    return [copy.deepcopy(tool) if isinstance(tool, dict) else tool for tool in given]


def convert_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Describe tools in the OpenAI form, which every member reads.

    Args:
        tools: Tools as ``bind_tools`` takes them.
        strict: Mark each tool as strict; ``None`` leaves the mark out.

    Returns:
        One ``DescribedTool`` for each. A provider's own tool, such as ``{"google_search": {}}``, is not changed.

    Raises:
        ConfigurationError: Something is not a tool. Pass a ``BaseTool``, a function, a class or a JSON schema.
    """
    converted: list[dict[str, Any]] = []
    for tool in tools:
        if isinstance(tool, DescribedTool) or _is_providers_own(tool):
            converted.append(cast("dict[str, Any]", tool))
            continue
        try:
            converted.append(DescribedTool(convert_to_openai_tool(tool, strict=strict), tool))
        except (TypeError, ValueError) as error:
            if not isinstance(tool, dict):
                raise ConfigurationError(
                    f"{tool!r} is not a tool: {error}; pass a BaseTool, a function with type hints, a pydantic "
                    "class or a JSON schema"
                ) from error
            converted.append(tool)
    return converted


def _is_providers_own(tool: Tool) -> bool:
    """Whether it is a tool that a provider runs; LangChain would describe it as a function without parameters."""
    described = {"function", "input_schema", "parameters", "properties"}
    return isinstance(tool, dict) and tool.get("type") not in (None, "function") and described.isdisjoint(tool)


def normalised_choice(choice: Any) -> str | None:
    """Convert a tool choice to a value that every member understands.

    Args:
        choice: ``"auto"``, ``"none"``, ``"any"``, ``"required"``, a tool's name, a bool, or OpenAI's dict.

    Returns:
        ``"auto"``, ``"none"``, ``"any"``, a tool's name, or ``None``.

    Raises:
        ConfigurationError: The choice is none of these.

    Examples:
        >>> normalised_choice("required"), normalised_choice({"type": "function", "function": {"name": "add"}})
        ('any', 'add')
    """
    if choice is None or choice is False:
        return None
    if choice is True or choice == "required":
        return "any"
    if isinstance(choice, str):
        return choice
    if isinstance(choice, Mapping):
        name = (choice.get("function") or choice).get("name")
        if isinstance(name, str):
            return name
        if choice.get("type") in ("any", "auto", "none"):
            return str(choice["type"])
    raise ConfigurationError(f'tool_choice is {choice!r}; use "any", "auto", "none", or the name of a tool')

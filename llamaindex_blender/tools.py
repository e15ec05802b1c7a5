"""Convert the tools of a call to one form for all members, and check members' tool calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from llama_index.core.tools import AsyncBaseTool, BaseTool, ToolMetadata, ToolOutput
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue

from blender_core.errors import ConfigurationError, MemberError
from blender_core.runtime.outside import read_json
from blender_core.selection import arguments_problem, tool_check
from blender_core.types.answer import Answer, ToolCall

__all__ = ["DescribedTool", "acceptance", "as_tool", "describe", "normalised_choice", "read_arguments"]


class DescribedTool(dict[str, Any]):
    """Holds a tool in the OpenAI form, and the LlamaIndex tool it describes.

    Args:
        tool: The tool.
    """

    def __init__(self, tool: BaseTool) -> None:
        super().__init__(tool.metadata.to_openai_tool(skip_length_check=True))
        self.tool = tool

    def __deepcopy__(self, _memo: Any) -> dict[str, Any]:
        # without the tool, which may hold an index or a client: copies are for members of other kinds
        return cast("dict[str, Any]", json.loads(json.dumps(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def describe(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """Convert tools to the OpenAI form, which every member can read.

    Args:
        tools: LlamaIndex tools, or dicts in the OpenAI form.

    Returns:
        One dict for each tool.

    Raises:
        ConfigurationError: Something is not a tool. Pass a LlamaIndex tool or a dict.

    Examples:
        >>> from llama_index.core.tools import FunctionTool
        >>> def add(a: int, b: int) -> int:
        ...     return a + b
        >>> describe([FunctionTool.from_defaults(add)])[0]["function"]["name"]
        'add'
    """
    described: list[dict[str, Any]] = []
    for tool in tools:
        if isinstance(tool, BaseTool):
            described.append(DescribedTool(tool))
        elif isinstance(tool, Mapping):
            described.append(tool if isinstance(tool, DescribedTool) else dict(tool))
        else:
            raise ConfigurationError(
                f"{tool!r} is not a tool; pass a LlamaIndex tool such as FunctionTool.from_defaults(function)"
            )
    return described


def as_tool(described: Mapping[str, Any]) -> BaseTool:
    """Convert a tool from the OpenAI form to a LlamaIndex tool.

    Args:
        described: The tool.

    Returns:
        The LlamaIndex tool that it describes, if there is one. Else a tool with the same name, description and
        schema; calling it raises.

    Raises:
        MemberError: The tool belongs to one provider, and other members cannot use it.

    Examples:
        >>> schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        >>> tool = as_tool({"type": "function", "function": {"name": "twice", "parameters": schema}})
        >>> tool.metadata.get_parameters_dict() == schema
        True
    """
    if isinstance(described, DescribedTool):
        return described.tool
    function = described.get("function")
    if not isinstance(function, Mapping) or "name" not in function:
        raise MemberError(f"{dict(described)!r} is a tool of one provider's own; this member cannot be given it")
    return _ForeignTool(function)


def normalised_choice(choice: Any, *, required: bool = False) -> str | None:
    """Convert a tool choice to a value that every member understands.

    Args:
        choice: ``"auto"``, ``"none"``, ``"any"``, ``"required"``, a tool's name, or OpenAI's dict.
        required: Whether some tool must be called.

    Returns:
        ``"auto"``, ``"none"``, ``"any"``, a tool's name, or ``None``.

    Raises:
        ConfigurationError: The choice is none of these.

    Examples:
        >>> normalised_choice(None, required=True), normalised_choice({"function": {"name": "add"}})
        ('any', 'add')
    """
    if isinstance(choice, Mapping):
        name = (choice.get("function") or choice).get("name")
        choice = name if isinstance(name, str) else choice.get("type")
    if choice in (None, False):
        return "any" if required else None
    if choice in (True, "required"):
        return "any"
    if not isinstance(choice, str):
        raise ConfigurationError(f'tool_choice is {choice!r}; use "any", "auto", "none", or the name of a tool')
    return choice


def acceptance(tools: Sequence[Mapping[str, Any]], choice: str | None) -> Callable[[Answer], str | None] | None:
    """Make the check of members' answers in a call with tools.

    Args:
        tools: The tools in the OpenAI form.
        choice: The tool choice, normalised.

    Returns:
        A function that returns why an answer cannot be used, or ``None``; ``None`` if every answer can be used.
    """
    schemas: dict[str, Any] = {}
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping) and "name" in function:
            metadata = as_tool(tool).metadata
            # providers allow fewer characters in a name than LlamaIndex
            schemas[function["name"]] = schemas[str(metadata.name)] = metadata.fn_schema
    if not schemas:
        return None
    return tool_check(choice, known=schemas, call_problem=lambda call: _problem(call, schemas))


def read_arguments(arguments: Any, name: str) -> dict[str, Any]:
    """Read the arguments of a tool call.

    Args:
        arguments: A mapping, or JSON.
        name: The tool's name, for the error message.

    Returns:
        The arguments by name.

    Raises:
        MemberError: They are no JSON object.

    Examples:
        >>> read_arguments('{"a": 1}', "add")
        {'a': 1}
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    try:
        read = read_json(arguments or "{}")
    except (TypeError, ValueError) as error:
        raise MemberError(f"the arguments of tool call {name!r} are not JSON: {str(arguments)[:200]!r}") from error
    if not isinstance(read, dict):
        raise MemberError(f"the arguments of tool call {name!r} are not a JSON object: {str(arguments)[:200]!r}")
    return read


def _problem(call: ToolCall, schemas: Mapping[str, Any]) -> str | None:
    schema = schemas[call.name]
    return arguments_problem(call, schema) if isinstance(schema, type) and issubclass(schema, BaseModel) else None


class _ForeignTool(AsyncBaseTool):
    """A tool of another framework. Members see its description; the caller of the blend runs it."""

    def __init__(self, function: Mapping[str, Any]) -> None:
        schema = _schema_class(function["name"], function.get("parameters") or {})
        self._metadata = ToolMetadata(function.get("description") or "", function["name"], schema)

    @property
    def metadata(self) -> ToolMetadata:
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:
        raise ConfigurationError(f"{self.metadata.name} belongs to another framework, whose agent runs it")

    call = __call__

    async def acall(self, input: Any) -> ToolOutput:
        return self(input)


def _schema_class(name: str, schema: Mapping[str, Any]) -> type[BaseModel]:
    """A pydantic class with the given JSON schema. Some integrations read the fields, others the schema."""

    class Described(BaseModel):
        model_config = ConfigDict(extra="allow")

        @classmethod
        def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
            return {"type": "object", "properties": {}, **schema}

    required = set(schema.get("required") or ())
    fields: dict[str, Any] = {}
    for place, (key, part) in enumerate((schema.get("properties") or {}).items()):
        default = part.get("default") if isinstance(part, Mapping) else None
        # pydantic refuses fields that start with an underscore or hide a method
        usable = key.isidentifier() and not key.startswith("_") and not hasattr(Described, key)
        field = Field(default=... if key in required else default, alias=None if usable else key)
        fields[key if usable else f"field_{place}"] = (Any, field)
    return create_model(name, __base__=Described, **fields)

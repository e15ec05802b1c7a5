"""Tools of a call: one form for members of every kind, and what a member's tool calls must look like."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from llama_index.core.tools import AsyncBaseTool, BaseTool, ToolMetadata, ToolOutput
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, create_model
from pydantic.json_schema import JsonSchemaValue

from blender_core.errors import ConfigurationError, MemberError
from blender_core.selection import tool_check
from blender_core.types.answer import Answer, ToolCall

__all__ = ["DescribedTool", "acceptance", "as_tool", "describe", "normalised_choice", "read_arguments"]


class DescribedTool(dict[str, Any]):
    """A tool in the OpenAI form that remembers the LlamaIndex tool it describes.

    Args:
        tool: The tool.
    """

    def __init__(self, tool: BaseTool) -> None:
        super().__init__(tool.metadata.to_openai_tool(skip_length_check=True))
        self.tool = tool

    def __deepcopy__(self, _memo: Any) -> dict[str, Any]:
        # a copy is for members that do not know the tool, which may hold an index or a client
        return cast("dict[str, Any]", json.loads(json.dumps(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def describe(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """Tools in the OpenAI form, which members of every kind can read.

    Args:
        tools: LlamaIndex tools, or dicts that are in that form already.

    Returns:
        One dict a tool.

    Raises:
        ConfigurationError: Something is not a tool.

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
    """A LlamaIndex tool for a tool in the OpenAI form.

    Args:
        described: The tool.

    Returns:
        The tool it was made from, where it was; else one with the same name, description and schema that
        cannot be run.

    Raises:
        MemberError: It is a provider's own tool, which only that provider understands.

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
    """A tool choice in the words that every member understands.

    Args:
        choice: ``"auto"``, ``"none"``, ``"any"``, ``"required"``, a tool's name, or OpenAI's dict.
        required: Whether some tool must be called.

    Returns:
        ``"auto"``, ``"none"``, ``"any"``, a tool's name, or ``None``.

    Raises:
        ConfigurationError: It is something else.

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
    """The check that a member's answer has to pass in a call with tools.

    Args:
        tools: The tools in the OpenAI form.
        choice: The tool choice, normalised.

    Returns:
        A function that says why an answer cannot be used, or ``None``; ``None`` where anything goes.
    """
    schemas: dict[str, Any] = {}
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping) and "name" in function:
            metadata = as_tool(tool).metadata
            # providers want a plainer name than the tool's own
            schemas[function["name"]] = schemas[str(metadata.name)] = metadata.fn_schema
    if not schemas:
        return None
    return tool_check(choice, known=schemas, call_problem=lambda call: _problem(call, schemas))


def read_arguments(arguments: Any, name: str) -> dict[str, Any]:
    """A call's arguments by name.

    Args:
        arguments: A mapping, or JSON.
        name: The tool's name, for the message.

    Returns:
        The arguments.

    Raises:
        MemberError: They cannot be read.

    Examples:
        >>> read_arguments('{"a": 1}', "add")
        {'a': 1}
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    try:
        read = json.loads(arguments or "{}")
    except (TypeError, ValueError) as error:
        raise MemberError(f"the arguments of tool call {name!r} are not JSON: {str(arguments)[:200]!r}") from error
    if not isinstance(read, dict):
        raise MemberError(f"the arguments of tool call {name!r} are not a JSON object: {str(arguments)[:200]!r}")
    return read


def _problem(call: ToolCall, schemas: Mapping[str, Any]) -> str | None:
    if call.name not in schemas:
        return f"called {call.name}, which is not among the tools"
    schema = schemas[call.name]
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return None
    try:
        schema.model_validate(dict(call.arguments))
    except ValidationError as error:
        first = error.errors()[0]
        return f"{call.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


class _ForeignTool(AsyncBaseTool):
    """A tool of another framework: members see what it is, the blend's caller runs it."""

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
    """A pydantic class whose JSON schema is the given one; integrations read the one or the other."""

    class Described(BaseModel):
        model_config = ConfigDict(extra="allow")

        @classmethod
        def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
            return {"type": "object", "properties": {}, **schema}

    required = set(schema.get("required") or ())
    fields: dict[str, Any] = {}
    for place, (key, part) in enumerate((schema.get("properties") or {}).items()):
        default = part.get("default") if isinstance(part, Mapping) else None
        # a field may not start with an underscore or hide a method
        usable = key.isidentifier() and not key.startswith("_") and not hasattr(Described, key)
        field = Field(default=... if key in required else default, alias=None if usable else key)
        fields[key if usable else f"field_{place}"] = (Any, field)
    return create_model(name, __base__=Described, **fields)

"""Tools of a call: one form for all members, and what a member's answer must look like."""

from __future__ import annotations

import copy
import functools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, TypeAdapter, ValidationError

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require
from blender_core.selection import tool_check
from blender_core.types.answer import Answer, ToolCall

__all__ = [
    "acceptance",
    "convert_tools",
    "normalised_choice",
    "violation",
    "wants_structure",
]

_LONGEST_MESSAGE = 200
# how LangChain's tools read a text where they want something else
_READERS: dict[str, TypeAdapter[Any]] = {
    "integer": TypeAdapter(int),
    "number": TypeAdapter(float),
    "boolean": TypeAdapter(bool),
}


def violation(value: Any, schema: Mapping[str, Any] | bool, *, lenient: bool = False) -> str | None:
    """Where a value does not meet a schema, as the ``jsonschema`` library finds it.

    The draft is the one that ``$schema`` names, 2020-12 where it names none. References to other documents are
    not fetched.

    Args:
        value: Plain JSON types.
        schema: A JSON schema.
        lenient: Take a number or a boolean that is written as text for what it says, as tools do.

    Returns:
        The most telling violation in words, ``None`` where there is none. A schema that cannot be used is told of
        too: of every value alike, so that no answer is set aside for it and the result says so.

    Raises:
        MissingExtraError: ``jsonschema`` is not installed.

    Examples:
        >>> schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        >>> violation({"a": 1}, schema) is None, violation({"a": "x"}, schema)
        (True, "a: 'x' is not of type 'integer'")
        >>> violation({}, schema)
        "'a' is a required property"
        >>> violation({"a": "1"}, schema, lenient=True) is None
        True
    """
    jsonschema = require("jsonschema", feature="checking tool arguments", extra="langchain")
    referencing = require("referencing", feature="checking tool arguments", extra="langchain")
    draft = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        draft.check_schema(schema)
        # a registry of our own, because the default one opens URLs
        checker = draft(schema, registry=referencing.Registry())
        if lenient:
            value = _with_texts_read(value, checker.iter_errors(value))
        found = jsonschema.exceptions.best_match(checker.iter_errors(value))
    except RecursionError:
        return "cannot be checked: the schema refers to itself without end"
    except jsonschema.exceptions.SchemaError as error:
        return f"cannot be checked: the schema is not valid{_at(error.absolute_path)}: {_shortened(error.message)}"
    except referencing.exceptions.Unresolvable as error:
        return f"cannot be checked: the schema's reference {_shortened(str(error.ref))} leads nowhere"
    if found is None:
        return None
    place = _place(found.absolute_path)
    return f"{place}: {_shortened(found.message)}" if place else _shortened(found.message)


def _with_texts_read(value: Any, errors: Iterable[Any]) -> Any:
    """A copy in which the texts that are of a wrong type are what they say."""
    value = copy.deepcopy(value)
    for error in _leaves(errors):
        path = list(error.absolute_path)
        if error.validator == "type" and isinstance(error.instance, str) and path:
            holder = functools.reduce(operator.getitem, path[:-1], value)
            # the text may be a property's name, or be read already
            if holder[path[-1]] == error.instance:
                holder[path[-1]] = _read(error.instance, error.validator_value)
    return value


def _leaves(errors: Iterable[Any]) -> Iterator[Any]:
    """The errors, each alternative's (``anyOf``) in place of the whole."""
    for error in errors:
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error


def _read(text: str, kinds: str | Sequence[str]) -> Any:
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind in _READERS:
            try:
                return _READERS[kind].validate_python(text)
            except ValidationError:
                continue
    return text


def _place(path: Sequence[str | int]) -> str:
    place = ""
    for step in path:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    return place


def _at(path: Sequence[str | int]) -> str:
    return f" at {_place(path)}" if path else ""


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 3]}..."


Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool


def convert_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Tools in the OpenAI form, which every LangChain chat model takes.

    Args:
        tools: Tools as ``bind_tools`` takes them.
        strict: Marks each tool as strict, where given.

    Returns:
        One dict a tool; a provider's own tool (such as ``{"google_search": {}}``) is left as it is.

    Raises:
        ConfigurationError: Something is not a tool.
    """
    converted = []
    for tool in tools:
        try:
            converted.append(convert_to_openai_tool(tool, strict=strict))
        except (TypeError, ValueError) as error:
            if not isinstance(tool, dict):
                raise ConfigurationError(
                    f"{tool!r} is not a tool: {error}; pass a BaseTool, a function with type hints, a pydantic "
                    "class or a JSON schema"
                ) from error
            converted.append(tool)
    return converted


def normalised_choice(choice: Any) -> str | None:
    """A tool choice in the words that every member understands.

    Args:
        choice: ``"auto"``, ``"none"``, ``"any"``, ``"required"``, a tool's name, a bool, or OpenAI's dict.

    Returns:
        ``"auto"``, ``"none"``, ``"any"``, a tool's name, or ``None``.

    Raises:
        ConfigurationError: It is something else.

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


def wants_structure(options: Mapping[str, Any], schema: Any) -> bool:
    """Whether the call asks for structured output, which is picked and never fused.

    Args:
        options: The call options.
        schema: The schema of ``with_structured_output``, where there is one.

    Returns:
        Whether it does.
    """
    return schema is not None or bool(options.get("response_format"))


def acceptance(options: Mapping[str, Any], schema: Any) -> Callable[[Answer], str | None] | None:
    """The check that a member's answer has to pass.

    Tool calls must name a bound tool and meet its schema, a number or a boolean written as text being what it
    says; where a call is required there must be one; where structured output is asked for it must meet the schema.

    Args:
        options: The call options.
        schema: The schema of ``with_structured_output``, where there is one.

    Returns:
        A function that says why an answer cannot be used, or ``None``; ``None`` where anything goes.
    """
    tools = options.get("tools") or []
    text_schema = _response_schema(options.get("response_format"))
    if not tools and text_schema is None:
        return None
    parameters = _parameters(tools)
    choice = options.get("tool_choice")
    return tool_check(
        choice,
        known=parameters,
        call_problem=lambda call: _call_violation(call, parameters, schema),
        text_problem=lambda text: None if text_schema is None else _text_violation(text, text_schema),
    )


def _parameters(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Name to parameters; empty where a provider's own tool is among them, whose calls cannot be foreseen."""
    functions = [tool.get("function") for tool in tools]
    if not all(isinstance(function, Mapping) and "name" in function for function in functions):
        return {}
    return {function["name"]: function.get("parameters") or {} for function in functions if function}


def _call_violation(call: ToolCall, parameters: Mapping[str, Mapping[str, Any]], schema: Any) -> str | None:
    if parameters and call.name not in parameters:
        return f"called {call.name}, which is not among the tools"
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        try:
            schema.model_validate(dict(call.arguments))
        except ValidationError as error:
            first = error.errors()[0]
            return f"{call.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        return None
    # a tool reads its arguments; what is asked for as structured output is handed on as it is
    problem = violation(dict(call.arguments), parameters.get(call.name, {}), lenient=schema is None)
    return None if problem is None else f"{call.name}: {problem}"


def _response_schema(response_format: Any) -> Any:
    if isinstance(response_format, type) and issubclass(response_format, BaseModel):
        return response_format
    if not isinstance(response_format, Mapping):
        return None
    if response_format.get("type") == "json_schema":
        inner = response_format.get("json_schema") or response_format
        return inner.get("schema", {})
    if response_format.get("type") == "json_object":
        return {"type": "object"}
    return None


def _text_violation(text: str, schema: Any) -> str | None:
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    if isinstance(schema, type):
        try:
            schema.model_validate(value)  # type: ignore[attr-defined]
        except ValidationError as error:
            return f"does not meet the schema: {error.errors()[0]['msg']}"
        return None
    return violation(value, schema)

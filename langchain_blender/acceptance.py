"""Check members' answers: tool calls by their tools, structured output by its schema."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel, TypeAdapter, ValidationError

from blender_core.runtime.extras import require
from blender_core.runtime.outside import read_json
from blender_core.selection import Accept, arguments_problem, quick_check, tool_check
from blender_core.types.answer import ToolCall
from langchain_blender.messages import broken_call
from langchain_blender.structured import asked_schema

__all__ = ["acceptance", "violation", "wants_structure"]

_LONGEST_MESSAGE = 200
# LangChain's tools convert text to these types
_READERS: dict[str, TypeAdapter[Any]] = {
    "integer": TypeAdapter(int),
    "number": TypeAdapter(float),
    "boolean": TypeAdapter(bool),
}


def violation(value: Any, schema: Mapping[str, Any] | bool, *, lenient: bool = False) -> str | None:
    """Check a value against a JSON schema by the ``jsonschema`` library.

    The draft is the one named in ``$schema``, else 2020-12. References to other documents are not fetched.

    Args:
        value: Plain JSON types.
        schema: A JSON schema.
        lenient: Accept a number or a boolean that is written as text, as tools do.

    Returns:
        The most relevant violation in words, or ``None``. A schema that cannot be used is a violation of every
        value, so the result says so and no answer is preferred.

    Raises:
        MissingExtraError: ``jsonschema`` is not installed; the message has the command.

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
        # jsonschema's default registry opens URLs
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
    """A copy in which texts of a wrong type are converted."""
    value = copy.deepcopy(value)
    for error in _leaves(errors):
        path = list(error.absolute_path)
        if error.validator == "type" and isinstance(error.instance, str) and path:
            holder = functools.reduce(operator.getitem, path[:-1], value)
            # the text may be a property's name, or converted already
            if holder[path[-1]] == error.instance:
                holder[path[-1]] = _read(error.instance, error.validator_value)
    return value


def _leaves(errors: Iterable[Any]) -> Iterator[Any]:
    """The errors; those of the alternatives (``anyOf``) instead of their parent."""
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


def wants_structure(options: Mapping[str, Any], schema: Any) -> bool:
    """Tell whether a call asks for structured output, which is picked and never fused.

    Args:
        options: The call options.
        schema: The schema of ``with_structured_output``, or ``None``.

    Returns:
        ``True`` if it does.
    """
    return schema is not None or bool(options.get("response_format"))


def acceptance(options: Mapping[str, Any], schema: Any) -> Accept:
    """Make the check of members' answers.

    A tool call must be readable, name a bound tool and meet its schema; numbers and booleans may be written as text. If
    a call is required, there must be one. Structured output must meet its schema.

    Args:
        options: The call options.
        schema: The schema of ``with_structured_output``, or ``None``.

    Returns:
        A function that returns why an answer cannot be used, or ``None``.
    """
    as_asked = _as_asked(options, schema)
    if as_asked is None:
        return quick_check(lambda answer: broken_call(answer.native))
    return lambda answer: broken_call(answer.native) or as_asked(answer)


def _as_asked(options: Mapping[str, Any], schema: Any) -> Accept | None:
    tools = options.get("tools") or []
    asked = asked_schema(options)
    text_schema, read = _response_schema(options.get("response_format")), read_json
    if asked is not None and asked.method != "function_calling":
        is_class = isinstance(asked.schema, type) and issubclass(asked.schema, BaseModel)
        text_schema, schema = asked.schema if is_class else asked.json_schema, None
        # the parser of ``with_structured_output`` reads JSON in a Markdown block too
        read = functools.partial(parse_json_markdown, parser=read_json)
    if not tools and text_schema is None:
        return None
    parameters = _parameters(tools)
    choice = options.get("tool_choice")
    if not parameters and all(choice != (tool.get("function") or {}).get("name") for tool in tools):
        # a provider runs its own tools, and the answer is a text
        choice = None
    return tool_check(
        choice,
        known=parameters,
        call_problem=lambda call: _call_violation(call, parameters, schema),
        text_problem=lambda text: None if text_schema is None else _text_violation(text, text_schema, read),
    )


def _parameters(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Name -> parameters. Empty if one is a provider's own tool, whose calls may have any name."""
    functions = [tool.get("function") for tool in tools]
    if not all(isinstance(function, Mapping) and "name" in function for function in functions):
        return {}
    return {function["name"]: function.get("parameters") or {} for function in functions if function}


def _call_violation(call: ToolCall, parameters: Mapping[str, Mapping[str, Any]], schema: Any) -> str | None:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return arguments_problem(call, schema)
    # a tool converts its arguments, but structured output reaches the caller unchanged
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


def _text_violation(text: str, schema: Any, read: Callable[[str], Any]) -> str | None:
    try:
        value = read(text)
    except ValueError as error:
        return f"not JSON: {error}"
    if isinstance(schema, type):
        try:
            schema.model_validate(value)  # type: ignore[attr-defined]
        except ValidationError as error:
            return f"does not meet the schema: {error.errors()[0]['msg']}"
        return None
    return violation(value, schema)

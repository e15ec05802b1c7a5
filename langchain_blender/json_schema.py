"""Whether tool arguments and structured output meet their JSON schema."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from blender_core.runtime.extras import require

__all__ = ["violation"]

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

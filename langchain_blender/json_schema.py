"""A small JSON schema check for tool arguments and structured output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["violation"]


def violation(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Where a value does not meet a schema.

    Knows ``type``, ``properties``, ``required``, ``additionalProperties: false``, ``items``, ``enum``,
    ``const``, ``anyOf``, ``oneOf`` (as any), ``allOf``, ``minimum``, ``maximum`` and local ``$ref``; other
    keywords are not looked at.

    Args:
        value: Plain JSON types.
        schema: A JSON schema.

    Returns:
        The first violation in words, ``None`` where there is none.

    Example:
        >>> schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        >>> violation({"a": 1}, schema) is None, violation({"a": "x"}, schema), violation({}, schema)
        (True, 'a is str, not integer', "'a' is missing")
    """
    try:
        return _check(value, schema, schema, "")
    except RecursionError:
        # said of every answer alike, so none is set aside for it, and the result tells
        return "cannot be checked: the schema refers to itself without end"


def _check(value: Any, schema: Any, root: Mapping[str, Any], place: str) -> str | None:
    if not isinstance(schema, Mapping):
        return f"{place or 'the value'} is not allowed" if schema is False else None
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _check(value, _resolved(reference, root), root, place)
    return (
        _check_type(value, schema, place)
        or _check_values(value, schema, place)
        or _check_choices(value, schema, root, place)
        or _check_object(value, schema, root, place)
        or _check_items(value, schema, root, place)
    )


def _check_type(value: Any, schema: Mapping[str, Any], place: str) -> str | None:
    kinds = schema.get("type")
    if kinds is None:
        return None
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    if any(_is(value, kind) for kind in wanted):
        return None
    return f"{place or 'the value'} is {type(value).__name__}, not {' or '.join(wanted)}"


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list | tuple)
        case "object":
            return isinstance(value, Mapping)
        case _:
            return True


def _check_values(value: Any, schema: Mapping[str, Any], place: str) -> str | None:
    name = place or "the value"
    if "const" in schema and value != schema["const"]:
        return f"{name} is {value!r}, not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{name} is {value!r}, not one of {schema['enum']!r}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            return f"{name} is {value}, under {schema['minimum']}"
        if value > schema.get("maximum", value):
            return f"{name} is {value}, over {schema['maximum']}"
    return None


def _check_choices(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str | None:
    for part in schema.get("allOf", ()):
        problem = _check(value, part, root, place)
        if problem is not None:
            return problem
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            problems = [_check(value, part, root, place) for part in schema[keyword]]
            if problems and None not in problems:
                return problems[0]
    return None


def _check_object(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str | None:
    if not isinstance(value, Mapping):
        return None
    properties = schema.get("properties") or {}
    for key in schema.get("required", ()):
        if key not in value:
            return f"{_below(place, key)!r} is missing"
    for key, item in value.items():
        if key in properties:
            problem = _check(item, properties[key], root, _below(place, key))
        elif schema.get("additionalProperties") is False:
            problem = f"{_below(place, key)!r} is not in the schema"
        else:
            problem = None
        if problem is not None:
            return problem
    return None


def _check_items(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str | None:
    if not isinstance(value, list | tuple) or "items" not in schema:
        return None
    for index, item in enumerate(value):
        problem = _check(item, schema["items"], root, f"{place}[{index}]")
        if problem is not None:
            return problem
    return None


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    target: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        target = target.get(step, {}) if step and isinstance(target, Mapping) else target
    return target


def _below(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)

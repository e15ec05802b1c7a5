"""Building settings from plain types: every value has the type of its annotation and lies in its range."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from blender_core.errors import ConfigurationError

__all__ = ["LARGEST_SEED", "PART", "SHARE", "Allowed", "Range", "above", "at_least", "built", "check_settings"]

_Settings = TypeVar("_Settings")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that a setting may have.

    Attributes:
        low: The lowest.
        high: The highest.
        with_low: Whether the lowest itself is allowed.
        with_high: Whether the highest itself is allowed.

    Examples:
        >>> str(Range(0, 1, with_high=False)), 1 in Range(0, 1, with_high=False)
        ('a number in [0, 1)', False)
    """

    low: float
    high: float = math.inf
    with_low: bool = True
    with_high: bool = True

    def __contains__(self, value: float) -> bool:
        low = self.low <= value if self.with_low else self.low < value
        return low and (value <= self.high if self.with_high else value < self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low}" if self.with_low else f"a number above {self.low}"
        return f"a number in {'(['[self.with_low]}{self.low}, {self.high}{')]'[self.with_high]}"


Allowed = Mapping[str, Range | tuple[str, ...]]
"""Key -> its range, or the texts to choose from."""

SHARE = Range(0, 1)
"""From 0 to 1."""

PART = Range(0, 1, with_high=False)
"""From 0 up to, not including, 1."""

LARGEST_SEED = 2**32 - 1
"""What numpy takes, which transformers seeds too."""


def at_least(low: float) -> Range:
    """Numbers from ``low`` on."""
    return Range(low)


def above(low: float) -> Range:
    """Numbers above ``low``."""
    return Range(low, with_low=False)


def check_settings(settings: object, allowed: Allowed) -> None:
    """Check every field of a dataclass.

    Args:
        settings: The dataclass; the annotations say which type each field has.
        allowed: Ranges and choices by field; ``None`` is allowed where the annotation has it.

    Raises:
        ConfigurationError: A value cannot be used; the message names the key, the value and what is allowed.
    """
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        _check_type(value, hint, name)
        known = allowed.get(name)
        if known is None or value is None or value in known:
            continue
        remedy = f"give {known}" if isinstance(known, Range) else f"choose one of {', '.join(map(repr, known))}"
        raise ConfigurationError(f"{name} is {value!r}; {remedy}")


def built(kind: type[_Settings], values: object, place: str = "") -> _Settings:
    """Build a dataclass of settings from plain types.

    Tables become the dataclasses that the annotations name, lists become tuples, and a lone text where a list is due
    becomes a list of one.

    Args:
        kind: The dataclass.
        values: Its fields by name.
        place: Where it stands in the file, for messages; ``""`` for the file itself.

    Returns:
        The settings.

    Raises:
        ConfigurationError: A key is unknown or missing, or a value cannot be used; the message names both.
    """
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{place or 'the whole file'} is {values!r}; give a table of keys")
    hints = get_type_hints(kind)
    known = {name: value for name, value in values.items() if name in hints}
    ready = {name: _ready(value, hints[name], f"{place}.{name}".lstrip(".")) for name, value in known.items()}
    try:
        _check_names(kind, values)
        # before the dataclass compares what cannot be compared
        for name, value in ready.items():
            _check_type(value, hints[name], name)
        return kind(**ready)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}" if place else str(error)) from error


def _check_names(kind: Any, values: Mapping[Any, Any]) -> None:
    fields = dataclasses.fields(kind)
    unknown = [name for name in values if name not in {field.name for field in fields}]
    if unknown:
        raise ConfigurationError(
            f"unknown keys {', '.join(map(str, unknown))}; known are {', '.join(field.name for field in fields)}"
        )
    missing = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    if missing:
        raise ConfigurationError(f"{', '.join(missing)} must be given")


def _ready(value: Any, hint: Any, place: str) -> Any:
    kinds = _kinds(hint)
    if value is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        origin, arguments = get_origin(kind), get_args(kind)
        if dataclasses.is_dataclass(kind):
            return built(kind, value, place)  # type: ignore[arg-type]
        if origin is dict and isinstance(value, Mapping):
            return {name: _ready(one, arguments[1], f"{place}.{name}") for name, one in value.items()}
        if origin is tuple and isinstance(value, str) and str not in kinds:
            # a lone text would be taken apart into its letters
            return (value,)
        if origin is tuple and isinstance(value, (list, tuple)):
            return tuple(_ready(one, arguments[0], f"{place}[{number}]") for number, one in enumerate(value))
    return value


def _check_type(value: object, hint: Any, key: str) -> None:
    if not _fits(value, hint):
        words = " or ".join(_words(kind) for kind in _kinds(hint) if kind is not types.NoneType)
        raise ConfigurationError(f"{key} is {value!r}; give {words}")


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    kinds = _kinds(hint)
    if len(kinds) > 1:
        return any(_fits(value, kind) for kind in kinds)
    if hint is Any:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            isinstance(name, str) and _fits(one, arguments[1]) for name, one in value.items()
        )
    # true and false are numbers to Python
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        largest = sys.float_info.max
        return isinstance(value, (int, float)) and -largest <= value <= largest
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each of it {_words(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"a table, each of it {_words(get_args(hint)[1])}"
    named = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text", Any: "any value"}
    return named.get(hint, "a table of keys")

"""Settings of a run: read from a file, checked, and kept with what was trained under them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import tomllib
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from blender_core.errors import ConfigurationError

__all__ = [
    "LARGEST_SEED",
    "PART",
    "SHARE",
    "Allowed",
    "Range",
    "above",
    "at_least",
    "built",
    "check_resumable",
    "check_settings",
    "keep_settings",
    "read_settings",
]


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a TOML file, or a JSON file where the name ends in ``.json``.

    Raises:
        ConfigurationError: The file is missing, or is neither.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigurationError(f"no configuration file {path}; give a TOML or JSON file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        data: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is neither TOML nor JSON: {error}") from error
    return data


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


_FILE = "config.json"


class _Kept(Protocol):
    @property
    def output(self) -> str: ...

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self: ...

    def to_dict(self) -> dict[str, Any]: ...


def check_resumable(config: _Kept, free: Collection[str]) -> None:
    """Refuse settings other than those that were kept in the output folder.

    Args:
        config: Settings. What the kept ones lack counts as its default.
        free: Names of settings that may differ.

    Raises:
        ConfigurationError: Another setting differs, or the kept ones cannot be read.
    """
    path = Path(config.output) / _FILE
    if not path.is_file():
        return
    try:
        stored = type(config).from_dict(read_settings(path)).to_dict()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the settings of the run in {config.output} cannot be read: {error}; give another output, or remove the "
            "folder"
        ) from error
    settings = config.to_dict()
    other = [key for name in settings if name not in free for key in _differing(stored[name], settings[name], name)]
    if other:
        raise ConfigurationError(
            f"{config.output} holds a run with other settings ({', '.join(other)}); use those, give another output, or "
            "remove the folder"
        )


def keep_settings(config: _Kept) -> None:
    """Write the settings into the output folder."""
    path = Path(config.output) / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    # a killed run leaves the old file or the new one
    os.replace(new, path)


def _differing(stored: Any, given: Any, key: str) -> list[str]:
    """Keys of what differs, down to the last table."""
    if not isinstance(stored, dict) or not isinstance(given, dict):
        return [] if stored == given else [key]
    names = list(dict.fromkeys((*stored, *given)))
    missing = object()
    return [
        one
        for name in names
        for one in _differing(stored.get(name, missing), given.get(name, missing), f"{key}.{name}")
    ]

"""Read a file of settings, and say in which line something is wrong."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blender_core.errors import ConfigurationError, MissingExtraError
from blender_core.runtime.extras import require
from blender_core.runtime.numbers import in_words
from blender_core.runtime.outside import read_regular_file

__all__ = ["ConfigSource", "read_source"]

Place = Sequence[str | int]

_LARGEST = 1_000_000
# pydantic's kinds of errors, in the words of the settings
_WORDS = {
    "finite_number": "a finite number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "bool_type": "true or false",
}
_QUOTED = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")
_MAY_BE_SECRET = ("api_key_env", "base_url")
# possessive, and no two parts that match the same: a line of a text may hold a million spaces
_TABLE = re.compile(r"\s*+(\[\[?)([^\[\]]++)\]")
_KEY = re.compile(r"\s*+(\"[^\"]*+\"|'[^']*+'|[\w.-]++)\s*+=")


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Holds the values of a file, and where they stand.

    Attributes:
        values: The file's keys.
        path: The file; ``None`` if the values come from elsewhere.
        lines: Line of each place, such as ``("members", 1, "model")``, counted from 1.
    """

    values: Mapping[str, Any]
    path: Path | None = None
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder to which paths in the file are relative."""
        return Path() if self.path is None else self.path.absolute().parent

    def refused(self, place: Place, why: str) -> ConfigurationError:
        """Make the error for one place.

        Args:
            place: Keys and positions that lead there.
            why: What is wrong, and the remedy.

        Returns:
            The error; it names the file and the line, if they are known.
        """
        if self.path is None:
            return ConfigurationError(why)
        line = next(
            (self.lines[key] for n in range(len(place), 0, -1) if (key := tuple(place[:n])) in self.lines), None
        )
        return ConfigurationError(f"{self.path}{'' if line is None else f', line {line}'}: {why}")

    def error(self, error: ValidationError) -> ConfigurationError:
        """Make the error for the first thing that does not fit the schema."""
        found = error.errors(include_url=False)
        place, why = found[0]["loc"], found[0]["msg"].removeprefix("Value error, ")
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        if found[0]["type"] == "extra_forbidden":
            # its value may be a secret
            hint = '; write api_key_env = "NAME", a variable that holds the key' if "key" in name.lower() else ""
            why = f"there is no {name!r} here{hint}"
        elif found[0]["type"] == "missing":
            why = f"{name} is missing"
        elif name:
            given, kind = found[0]["input"], _WORDS.get(found[0]["type"])
            why = why if kind is None else f"it must be {kind.format(**found[0].get('ctx', {}))}"
            shown = isinstance(given, int | float | str) and place[-1] not in _MAY_BE_SECRET
            why = f"{name} is {in_words(given)}; {why[:1].lower()}{why[1:]}" if shown else f"{name}: {why}"
        return self.refused(place, why + more)


def read_source(path: Path) -> ConfigSource:
    """Read a file in TOML, YAML or JSON.

    Args:
        path: The file; its ending says the format.

    Returns:
        Its values and their lines.

    Raises:
        ConfigurationError: It cannot be read, is larger than a megabyte, or is not valid; the message has the line.
        MissingExtraError: It is YAML, and PyYAML is not installed.
    """
    readers = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml, ".json": _json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"{path} is not a .toml, .yaml or .json file; rename it or give another")
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigurationError(f"{path} has over {_LARGEST:,} bytes; this is no description of a blend")
        text = read_regular_file(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; give a text file in UTF-8") from None
    try:
        values, lines = reader(text)
    except RecursionError:
        raise ConfigurationError(f"{path} is nested too deeply; this is no description of a blend") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} holds no keys at its top; write for example [[members]]")
    return ConfigSource(values, path, lines)


def _toml(text: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    return tomllib.loads(text), _toml_lines(text)


def _toml_lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Find the lines of tables and keys; what stands inside an inline value has that of its key."""
    lines: dict[tuple[str | int, ...], int] = {}
    tables: Counter[tuple[str | int, ...]] = Counter()
    inside: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        table, key = _TABLE.match(line), _KEY.match(line)
        if table is not None:
            parts = tuple(part.strip().strip("\"'") for part in table[2].split("."))
            # a table in an array belongs to the array's last element
            inside = (*parts[:1], tables[parts[:1]] - 1, *parts[1:]) if tables[parts[:1]] else parts
            if table[1] == "[[":
                inside = (*parts, tables[parts])
                tables[parts] += 1
            lines.setdefault(inside, number)
        elif key is not None:
            lines.setdefault((*inside, *(part.strip().strip("\"'") for part in key[1].split("."))), number)
    return lines


def _yaml(text: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    yaml = require("yaml", feature="a blend in YAML", extra="demo")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and _written_out(root) > _LARGEST:
            raise ValueError(f"its aliases stand for over {_LARGEST:,} values; this is no description of a blend")
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # its own words quote the line, which may hold a secret
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (at line {mark.line + 1}, column {mark.column + 1})"
        problem = _QUOTED.sub("a value", getattr(error, "problem", None) or type(error).__name__)
        raise ValueError(f"it is no YAML: {problem}{where}") from None
    lines: dict[tuple[str | int, ...], int] = {}
    todo: list[tuple[tuple[str | int, ...], Any]] = [] if root is None else [((), root)]
    seen: set[int] = set()
    while todo:
        place, node = todo.pop()
        lines[place] = node.start_mark.line + 1
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                todo.append(((*place, str(key.value)), value))
        elif isinstance(node, yaml.SequenceNode):
            todo += [((*place, position), value) for position, value in enumerate(node.value)]
    return values, lines


def _written_out(root: Any) -> float:
    """Count the values of a YAML document if each alias were written out; one that holds itself has no end."""
    counts: dict[int, float] = {}

    def count(node: Any) -> float:
        if id(node) not in counts:
            # until it is known
            counts[id(node)] = math.inf
            parts = node.value if isinstance(node.value, list) else []
            values = (part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,)))
            counts[id(node)] = 1 + sum(map(count, values))
        return counts[id(node)]

    return count(root)


def _json(text: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    values = json.loads(text, parse_constant=_not_a_number)
    try:
        # nearly all JSON is YAML, whose reader tells lines
        return values, _yaml(text)[1]
    except (MissingExtraError, ValueError):
        return values, {}


def _not_a_number(text: str) -> float:
    raise ValueError(f"{text} is no number; leave the key out")

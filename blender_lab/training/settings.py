"""Settings of a run: read from a file, checked by pydantic, and kept with what was trained under them."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from blender_core.errors import ConfigurationError
from blender_core.runtime.outside import read_json

__all__ = [
    "Names",
    "Part",
    "RunSettings",
    "Seed",
    "Settings",
    "Share",
    "as_tuple",
    "check_resumable",
    "keep_settings",
    "read_settings",
    "refusal",
]

_FILE = "config.json"

Share = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""

Part = Annotated[float, Field(ge=0, lt=1)]
"""From 0 up to, not including, 1."""

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Numbers that numpy takes as a seed; transformers seeds it too."""


def as_tuple(value: Any) -> Any:
    """Turn a list into a tuple, and a lone text into a tuple of one.

    Args:
        value: A value of a settings file.

    Returns:
        The tuple; any other value as it is.

    Examples:
        >>> as_tuple("a"), as_tuple(["a", "b"]), as_tuple(3)
        (('a',), ('a', 'b'), 3)
    """
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
"""A list of texts; a lone text counts as a list of one."""


class Settings(BaseModel):
    """A table of settings: frozen, and every value has exactly the type of its annotation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        """Check the settings.

        Raises:
            ConfigurationError: A setting is unknown, missing or cannot be used.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(refusal(error)) from None

    # tables within tables are then checked by pydantic itself, which knows their place
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        for name in values if isinstance(values, Mapping) else ():
            if name not in cls.model_fields:
                near = difflib.get_close_matches(str(name), cls.model_fields, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(cls.model_fields)}"
                raise ConfigurationError(f"unknown key {name}; {hint}")
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from plain types.

        Args:
            data: The settings by name; tables are mappings.

        Returns:
            The settings.

        Raises:
            ConfigurationError: A setting is unknown, missing or cannot be used; the message names it.
        """
        if not isinstance(data, Mapping):
            raise ConfigurationError(f"the whole file is {data!r}; give a table of keys")
        return cls(**data)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file, or a JSON file if its name ends in ``.json``.

        Args:
            path: The file.

        Returns:
            The settings.

        Raises:
            ConfigurationError: The file is missing, or holds no usable settings; the message names file and key.
        """
        data = read_settings(path)
        try:
            return cls.from_dict(data)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as plain types; `from_dict` reads them back."""
        return self.model_dump()

    def replace(self, **changes: Any) -> Self:
        """Copy the settings with some of them changed.

        Args:
            changes: New values by name.

        Returns:
            The checked copy.

        Raises:
            ConfigurationError: A setting is unknown or cannot be used.
        """
        return type(self)(**{**dict(self), **changes})


class RunSettings(Settings):
    """Settings of a run that writes into a folder."""

    output: str


def refusal(error: ValidationError) -> str:
    """Say why settings were refused, one line for each: the key, the value and what is allowed.

    Args:
        error: What pydantic found.

    Returns:
        The message.
    """
    return "\n".join(_one_refusal(found) for found in error.errors(include_url=False))


def _one_refusal(found: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).removeprefix(".")
    kind, value = found["type"], found["input"]
    if kind == "missing":
        return f"{place} must be given"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {place}"
    if kind == "value_error":
        return f"{place}: {found['ctx']['error']}" if place else str(found["ctx"]["error"])
    if kind == "literal_error":
        return f"{place} is {value!r}; choose one of {found['ctx']['expected']}"
    if kind == "too_short":
        return f"{place} is {value!r}; give at least {found['ctx']['min_length']}"
    # as a file's writer calls them
    wanted = found["msg"].removeprefix("Input should be ").replace("dictionary", "table").replace("tuple", "list")
    return f"{place} is {value!r}; give {'a number ' if 'than' in wanted else ''}{wanted}"


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a TOML file, or a JSON file if its name ends in ``.json``.

    Raises:
        ConfigurationError: The file is missing, or is neither.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigurationError(f"no configuration file {path}; give a TOML or JSON file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        data: dict[str, Any] = read_json(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is neither TOML nor JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path} holds no settings by name, but a JSON {type(data).__name__}")
    return data


def check_resumable(config: RunSettings, free: Collection[str]) -> None:
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


def keep_settings(config: RunSettings) -> None:
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

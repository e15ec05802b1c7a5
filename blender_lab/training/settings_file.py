"""Reading the file that describes a run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError

__all__ = ["read_settings"]


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

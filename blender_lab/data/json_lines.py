"""JSON lines, plain or gzip; whatever is wrong with one is told with its number."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.outside import read_json

__all__ = ["json_lines"]


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the JSON objects of a file, one a line.

    Args:
        path: UTF-8, with or without a byte order mark; gzip if the name ends in ``.gz``. Blank lines are skipped.

    Yields:
        The line's number, from 1, and its object.

    Raises:
        ConfigurationError: The file is missing or cannot be read, or a line is no JSON object.
    """
    if not path.is_file():
        raise ConfigurationError(f"no data file {path}; give the data folder (BLENDER_DATA or --data)")
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                found = _object(line, f"{path}, line {number}")
                if found is not None:
                    yield number, found
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(
            f"{path} cannot be read after line {number}: {error}; give JSON lines in UTF-8, plain or .gz"
        ) from error


def _object(line: bytes, place: str) -> dict[str, Any] | None:
    try:
        # some editors put a byte order mark in front
        text = line.decode("utf-8-sig")
        if not text.strip():
            return None
        found = read_json(text)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{place} is not UTF-8: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{place} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{place} is no JSON object")
    return found

"""The folder that training and evaluation read their data from."""

from __future__ import annotations

import os
from pathlib import Path

from blender_core.errors import ConfigurationError

__all__ = ["data_file", "data_folder"]


def data_folder(folder: str | Path | None = None) -> Path:
    """Find the data folder.

    Args:
        folder: The folder; ``None`` for the environment variable ``BLENDER_DATA``.

    Returns:
        The folder.

    Raises:
        ConfigurationError: Neither is given.
    """
    found = folder or os.environ.get("BLENDER_DATA")
    if not found:
        raise ConfigurationError("no data folder; give --data DIR or set BLENDER_DATA")
    return Path(found)


def data_file(file: str, folder: str | Path | None = None) -> Path:
    """Find a data file.

    Args:
        file: Its path below the data folder, or an absolute one.
        folder: The data folder; ``None`` for the environment variable ``BLENDER_DATA``.

    Returns:
        The path.

    Raises:
        ConfigurationError: The path is not absolute, and there is no data folder.
    """
    return Path(file) if Path(file).is_absolute() else data_folder(folder) / file

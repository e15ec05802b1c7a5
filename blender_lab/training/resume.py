"""Going on with a run only under the settings that it was begun with."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from blender_core.errors import ConfigurationError
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.training.settings_file import read_settings

__all__ = ["check_resumable", "check_resumable_ranker", "keep_settings"]

_FILE = "config.json"
# where, how fast and how long it trains, what is watched meanwhile, and what the export alone reads
_FREE = (
    *("output", "notes", "device", "threads", "tokens_per_batch", "accumulation", "steps", "minutes"),
    *("development_records", "evaluate_every", "save_every", "tensorboard", "keep", "average", "start_share"),
    "average_rankers",
)


class _Settings(Protocol):
    @property
    def output(self) -> str: ...

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self: ...

    def to_dict(self) -> dict[str, Any]: ...


def check_resumable_ranker(config: RankerTrainingConfig) -> None:
    """Refuse settings other than those that a ranker's checkpoint was trained with.

    Args:
        config: Settings. Those that do not change what is trained may differ, ``steps`` and ``minutes`` among them.

    Raises:
        ConfigurationError: Another setting differs; the message names it.
    """
    if (Path(config.output) / "checkpoint.pt").is_file():
        check_resumable(config, _FREE)


def check_resumable(config: _Settings, free: Collection[str]) -> None:
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


def keep_settings(config: _Settings) -> None:
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

"""Checkpoints that a kill cannot spoil, and a log that fits the checkpoint a run goes on from."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "LOG_FIELDS",
    "append_log",
    "last_checkpoint",
    "read_log",
    "read_seconds",
    "rewind_log",
    "write_seconds",
]

LOG_FIELDS = ("step", "epoch", "seconds", "learning_rate", "gradient_norm", "loss", "development_loss")
"""Columns of ``log.csv``; a cell is empty where a line has no such number."""

_SECONDS_FILE = "seconds.json"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; newer ones that a kill left half-written are removed.

    transformers writes ``trainer_state.json`` last, so a checkpoint in which it can be read is whole.

    Args:
        folder: The run's folder.

    Returns:
        The checkpoint's folder, ``None`` where there is none.
    """
    numbered = [
        (int(path.name.removeprefix("checkpoint-")), path)
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdecimal()
    ]
    for _, path in sorted(numbered, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path)
            continue
        return path
    return None


def write_seconds(checkpoint: Path, seconds: float) -> None:
    """Keep with a checkpoint how long the run had taken.

    Args:
        checkpoint: Its folder.
        seconds: The time.
    """
    (checkpoint / _SECONDS_FILE).write_text(json.dumps(seconds), encoding="utf-8")


def read_seconds(checkpoint: Path | None) -> float:
    """How long the run had taken up to a checkpoint.

    Args:
        checkpoint: Its folder.

    Returns:
        Seconds; 0 where nothing was kept with it.
    """
    if checkpoint is None:
        return 0.0
    try:
        return float(json.loads((checkpoint / _SECONDS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return 0.0


def read_log(path: Path) -> list[dict[str, str]]:
    """The lines of a log; one that a kill cut short is left out.

    Args:
        path: ``log.csv``; a missing one is empty.

    Returns:
        The lines by column.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row and None not in row.values()]


def append_log(path: Path, row: Mapping[str, Any]) -> None:
    """Write one line.

    Args:
        path: ``log.csv``.
        row: Values by column; missing ones stay empty.
    """
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, LOG_FIELDS, restval="").writerow(row)


def rewind_log(path: Path, step: int) -> float:
    """Take back the lines behind a step.

    Args:
        path: ``log.csv``; made where it is missing.
        step: The step that the run goes on from.

    Returns:
        Seconds that the run had taken up to there.
    """
    kept = [row for row in read_log(path) if int(row["step"]) <= step]
    fresh = path.with_suffix(".new")
    with fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, LOG_FIELDS)
        writer.writeheader()
        writer.writerows(kept)
    os.replace(fresh, path)
    return max((float(row["seconds"]) for row in kept), default=0.0)

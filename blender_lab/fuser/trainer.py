"""transformers' trainer for a fuser: its learning rate, its log, and checkpoints that a kill cannot spoil."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from blender_core.runtime.outside import read_json
from blender_lab.fuser.config import FuserTrainingConfig
from blender_lab.training.save_interval import SaveInterval

__all__ = [
    "LOG_FIELDS",
    "RunCallback",
    "ScheduledTrainer",
    "append_log",
    "last_checkpoint",
    "rate_at",
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
        The checkpoint's folder, ``None`` if there is none.
    """
    numbered = [
        (int(path.name.removeprefix("checkpoint-")), path)
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdecimal()
    ]
    for _, path in sorted(numbered, reverse=True):
        try:
            read_json((path / "trainer_state.json").read_text(encoding="utf-8"))
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
        return float(read_json((checkpoint / _SECONDS_FILE).read_text(encoding="utf-8")))
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
        path: ``log.csv``; made if it is missing.
        step: The step that the run resumes from.

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


def rate_at(progress: float, warmup: float) -> float:
    """Share of the peak rate: rising over the warm-up, then falling linearly to 0.

    Args:
        progress: Progress of the run in [0, 1].
        warmup: Share of the run with a rising rate.

    Returns:
        A factor in [0, 1].

    Examples:
        >>> [rate_at(progress, 0.2) for progress in (0.1, 0.2, 0.6, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return max(0.0, 1.0 - progress) / (1.0 - warmup)


class RunCallback(TrainerCallback):
    """Keeps the time, ends a run that is out of it, says when to save, and writes the log.

    Args:
        config: Settings.
        log: ``log.csv``.
        clock: Seconds, monotonic.
        spent: Seconds that the run took before it was stopped.
        say: Takes a line of text now and then.
    """

    def __init__(
        self,
        config: FuserTrainingConfig,
        log: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        spent: float = 0.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._pace = SaveInterval(config.save_every, clock)
        self._began = clock() - spent
        self._say = say
        self._row: dict[str, Any] = {}

    def seconds(self) -> float:
        """Seconds of the run so far."""
        return self._clock() - self._began

    def progress(self, step: int, steps: int) -> float:
        """Progress in [0, 1] after a step, by steps or by time, whichever is further.

        Args:
            step: Steps done.
            steps: Steps of the whole run.

        Returns:
            The progress.
        """
        limit = 60.0 * self._config.minutes
        by_time = self.seconds() / limit if limit > 0 else 0.0
        return min(1.0, max(step / steps, by_time))

    def rate(self, step: int, steps: int) -> float:
        """Share of the peak rate for the step after ``step``."""
        return rate_at(self.progress(step, steps), self._config.warmup)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Save where it is due; end the run when it is out of time, its last step evaluated and saved."""
        control.should_save = control.should_save or self._pace.due(state.global_step)
        self._pace.begin()
        if self.progress(state.global_step, state.max_steps) >= 1.0:
            control.should_log = control.should_evaluate = control.should_save = True
            control.should_training_stop = True
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave an evaluation between a step and its save out of the save's cost."""
        self._pace.begin()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint is written."""
        write_seconds(Path(args.output_dir) / f"checkpoint-{state.global_step}", self.seconds())
        self._pace.done()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write a line of the log."""
        logs = logs or {}
        row: dict[str, Any] = {
            "step": state.global_step,
            "epoch": f"{state.epoch or 0.0:.4f}",
            "seconds": f"{self.seconds():.1f}",
        }
        if "loss" in logs:
            row |= {
                "loss": f"{logs['loss']:.4f}",
                "learning_rate": f"{logs.get('learning_rate', 0.0):.3e}",
                "gradient_norm": f"{logs.get('grad_norm', 0.0):.4f}",
            }
        elif "eval_loss" in logs:
            row["development_loss"] = f"{logs['eval_loss']:.4f}"
        else:
            return
        append_log(self._log, row)
        self._say(", ".join(f"{name} {value}" for name, value in row.items()))


class ScheduledTrainer(Trainer):
    """transformers' trainer with a learning rate that can follow the clock.

    Args:
        rate: From steps done and steps in all to the share of the peak rate.
        options: Arguments of ``Trainer``.
    """

    def __init__(self, *, rate: Callable[[int, int], float], **options: Any) -> None:
        self._rate = rate
        super().__init__(**options)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule; called by ``Trainer``."""
        if self.lr_scheduler is None:
            held: Any = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                held, lambda step: self._rate(step, num_training_steps)
            )
        return self.lr_scheduler

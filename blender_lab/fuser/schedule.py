"""The learning rate over steps or time, whichever is further; the log of a run and when it is saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from blender_lab.fuser.checkpoints import append_log, write_seconds
from blender_lab.fuser.config import FuserTrainingConfig
from blender_lab.training.save_interval import SaveInterval

__all__ = ["RunCallback", "ScheduledTrainer", "rate_at"]


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
        """An evaluation stands between a step and its save, and is no part of what the save costs."""
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

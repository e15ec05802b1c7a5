"""What a run writes while it trains: ``log.csv``, ``evaluations.jsonl``, and TensorBoard's files where asked."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from blender_core.runtime.extras import require

__all__ = ["COLUMNS", "RunLog"]

COLUMNS = ("step", "progress", "seconds", "sequences", "max_tokens", "learning_rate", "loss")
"""Columns of ``log.csv``; ``learning_rate`` is the share of the peak rate."""


class RunLog:
    """Appends to the logs of a run. Use as a context manager.

    A run that goes on from a checkpoint first drops what was logged after it, so that no step stands twice.

    Args:
        output: Folder of the run.
        step: Step of the checkpoint.
        tensorboard: Write event files into ``tensorboard/``.

    Raises:
        MissingExtraError: ``tensorboard`` is asked for and not installed.
    """

    def __init__(self, output: Path, *, step: int, tensorboard: bool = False) -> None:
        self.path = output / "log.csv"
        self._evaluations = output / "evaluations.jsonl"
        self._output = output
        self._step = step
        self._tensorboard = tensorboard
        self._stack = ExitStack()
        self._board: Any = None
        if tensorboard:
            require("tensorboard", feature="tensorboard = true", extra="train")

    def __enter__(self) -> RunLog:
        _drop_after(self.path, self._step, lambda line: int(line.split(",", 1)[0]), header=True)
        _drop_after(self._evaluations, self._step, lambda line: int(json.loads(line)["step"]), header=False)
        self._file = self._stack.enter_context(self.path.open("a", newline="", encoding="utf-8"))
        self._rows = csv.writer(self._file)
        if self._file.tell() == 0:
            self._rows.writerow(COLUMNS)
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._output / "tensorboard"), purge_step=self._step + 1)
            self._stack.callback(self._board.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def step(
        self, step: int, *, progress: float, seconds: float, sequences: int, window: int, rate: float, loss: float
    ) -> None:
        """One optimiser step."""
        self._rows.writerow(
            [step, f"{progress:.4f}", f"{seconds:.1f}", sequences, window, f"{rate:.4f}", f"{loss:.4f}"]
        )
        self._file.flush()
        if self._board is not None:
            for name, value in (("loss", loss), ("learning_rate", rate), ("max_tokens", window)):
                self._board.add_scalar(f"train/{name}", value, step)

    def has_evaluation(self, step: int) -> bool:
        """Whether the numbers of a step are already there."""
        if not self._evaluations.is_file():
            return False
        lines = self._evaluations.read_text(encoding="utf-8").splitlines()
        return any(json.loads(line)["step"] == step for line in lines[-1:])

    def evaluation(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers on held-out prompts."""
        with self._evaluations.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(f"development/{name}", value, step)


def _drop_after(path: Path, step: int, step_of: Any, *, header: bool) -> None:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = lines[:1] if header else []
    for line in lines[len(kept) :]:
        # a killed run may leave half a line
        if line.endswith("\n") and step_of(line) <= step:
            kept.append(line)
    if kept != lines:
        path.write_text("".join(kept), encoding="utf-8", newline="")

"""The training loop: draw groups, score both sides of every pair, step; resume where the last run ended."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from blender_core.errors import CheckpointError, RankerError
from blender_core.runtime.extras import require
from blender_lab.ranker.architecture import Architecture
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.development import Evaluate
from blender_lab.ranker.losses import group_loss
from blender_lab.ranker.sampling import Group, GroupSampler, swap_pairs
from blender_lab.training.save_interval import SaveInterval

__all__ = [
    "COLUMNS",
    "START_FILE",
    "LoopResult",
    "RunLog",
    "RunState",
    "StepReport",
    "load_checkpoint",
    "mix_with_start",
    "run_loop",
    "save_checkpoint",
    "save_weights",
]

START_FILE = "start.pt"
"""What a run with ``start_share`` began with, in its output."""


@dataclass(slots=True)
class RunState:
    """How far a run is.

    Attributes:
        step: Optimiser steps done.
        seconds: Time spent, that before a resume included.
        sequences: Sequences that went through the encoder with gradient.
        best: The best mean accuracy on held-out prompts so far, -1 before the first evaluation.
    """

    step: int = 0
    seconds: float = 0.0
    sequences: int = 0
    best: float = -1.0


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: RunState,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write a checkpoint; a kill meanwhile leaves the one before it.

    Args:
        path: The file.
        model: Its weights are kept.
        optimizer: Its state is kept.
        state: How far the run is.
        scaler: The loss scale of float16.
    """
    values: dict[str, Any] = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "step": state.step,
        "seconds": state.seconds,
        "sequences": state.sequences,
        "best": state.best,
    }
    if scaler is not None and scaler.is_enabled():
        values["scaler"] = scaler.state_dict()
    device = next(model.parameters()).device
    if device.type == "cuda":
        values["cuda_rng"] = torch.cuda.get_rng_state(device)
    _write_file(path, values)


def save_weights(path: Path, model: nn.Module, state: RunState) -> None:
    """Write weights alone, for a model that is kept and not trained further."""
    _write_file(path, {"model": model.state_dict(), "step": state.step, "best": state.best})


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> RunState:
    """Load a checkpoint.

    Args:
        path: The file; read with ``weights_only=True``.
        model: Takes the weights.
        optimizer: Takes its state, where given, and torch's random state is restored.
        scaler: Takes the loss scale, where the checkpoint has one.

    Returns:
        How far the run was.

    Raises:
        CheckpointError: The file does not fit the model.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(stored["model"])
        if optimizer is not None:
            optimizer.load_state_dict(stored["optimizer"])
            torch.set_rng_state(stored["rng"])
            device = next(model.parameters()).device
            if "cuda_rng" in stored and device.type == "cuda":
                torch.cuda.set_rng_state(stored["cuda_rng"], device)
        if scaler is not None and "scaler" in stored:
            scaler.load_state_dict(stored["scaler"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} does not fit this model: {error}; remove it to start afresh, or use the run's own settings"
        ) from error
    return RunState(**{name: stored[name] for name in RunState.__slots__ if name in stored})


def mix_with_start(model: nn.Module, path: Path, share: float) -> None:
    """Pull weights back towards those that their run began with.

    Between the two lies what fine-tuning added without what it forgot (Wortsman et al. 2022, "Robust fine-tuning of
    zero-shot models").

    Args:
        model: Its weights are replaced by ``(1 - share) * own + share * start``.
        path: What the run began with, a file of ``save_weights``.
        share: In [0, 1].

    Raises:
        CheckpointError: There is no such file, or it does not fit the model.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: the run began without start_share; set start_share = 0, or train it again"
        )
    own = {name: value.clone() for name, value in model.state_dict().items()}
    load_checkpoint(path, model)
    model.load_state_dict(
        {
            name: torch.lerp(own[name], v, share) if v.is_floating_point() else v
            for name, v in model.state_dict().items()
        }
    )


def _write_file(path: Path, values: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        torch.save(values, file)
        file.flush()
        # after a power cut the name must not point to an empty file
        os.fsync(file.fileno())
    os.replace(new, path)


COLUMNS = ("step", "progress", "seconds", "sequences", "max_tokens", "learning_rate", "loss")
"""Columns of ``log.csv``; ``learning_rate`` is the share of the peak rate."""


class RunLog:
    """Appends to the logs of a run. Use as a context manager.

    A resumed run first drops what was logged after its checkpoint, so that no step is logged twice.

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


@dataclass(frozen=True, slots=True)
class LoopResult:
    """How a run ended.

    Attributes:
        steps: Optimiser steps done, those before a resume included.
        seconds: Time spent, that before a resume included.
        sequences: Sequences that went through the encoder with gradient.
        loss: Mean loss of the last 50 steps of this call, ``nan`` where it did none.
        log: The CSV log.
    """

    steps: int
    seconds: float
    sequences: int
    loss: float
    log: Path


@dataclass(frozen=True, slots=True)
class StepReport:
    """How far a run is.

    Attributes:
        step: Optimiser steps done.
        progress: Share of the run that is done, in [0, 1].
        loss: Mean loss of the last 50 steps.
        seconds: Time spent, that before a resume included.
        sequences: Sequences that went through the encoder with gradient so far.
        evaluation: Numbers on held-out prompts, where they were just measured; else empty.
    """

    step: int
    progress: float
    loss: float
    seconds: float
    sequences: int
    evaluation: dict[str, float] = field(default_factory=dict)


def run_loop(
    config: RankerTrainingConfig,
    form: Architecture,
    sampler: GroupSampler,
    *,
    evaluate: Evaluate | None = None,
    report: Callable[[StepReport], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    stop_after: int | None = None,
) -> LoopResult:
    """Train, resuming from the last checkpoint in ``config.output`` if there is one.

    Args:
        config: Settings.
        form: What is trained; its network is changed in place.
        sampler: Draws the groups of a step.
        evaluate: Called every ``config.evaluate_every`` steps and at the end; its numbers go into
            ``evaluations.jsonl``, and decide what is ``best.pt``.
        report: Called after every step.
        clock: Seconds, monotonic.
        stop_after: Stop after this step with a checkpoint; for trials.

    Returns:
        How it ended.

    Raises:
        CheckpointError: The checkpoint in the output folder does not fit the network.
        RankerError: The loss is not a number any more.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    optimizer = torch.optim.AdamW(form.parameter_groups(), weight_decay=config.weight_decay)
    device = next(form.module.parameters()).device
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
    state = _begin(config, form, optimizer, scaler)
    began = clock() - state.seconds
    pace = SaveInterval(config.save_every, clock)
    recent: list[float] = []
    form.module.train()
    with RunLog(output, step=state.step, tensorboard=config.tensorboard) as log:
        while True:
            progress = _progress(config, state.step, clock() - began)
            if progress >= 1.0 or state.step == stop_after:
                break
            groups = _groups(config, form, sampler, state.step)
            window, rate = config.window(progress), _rate(config, progress)
            for settings in optimizer.param_groups:
                settings["lr"] = settings["peak"] * rate
            loss, rows = _step(config, form, groups, window, optimizer, scaler)
            # float16's scaler skips such a step by itself
            if not math.isfinite(loss) and not scaler.is_enabled():
                raise RankerError(
                    f"the loss of step {state.step + 1} is {loss}; lower learning_rate, or use precision = 'float32', "
                    f"in another output; initial = '{output / 'checkpoint.pt'}' starts from the last checkpoint"
                )
            state.step += 1
            state.sequences += rows
            state.seconds = clock() - began
            recent = [*recent[-49:], loss]
            log.step(
                state.step,
                progress=progress,
                seconds=state.seconds,
                sequences=state.sequences,
                window=window,
                rate=rate,
                loss=loss,
            )
            numbers: dict[str, float] = {}
            if evaluate is not None and state.step % config.evaluate_every == 0:
                numbers = _evaluate(form, state, evaluate, log, output)
            if report is not None:
                done = min(1.0, _progress(config, state.step, state.seconds))
                report(StepReport(state.step, done, sum(recent) / len(recent), state.seconds, state.sequences, numbers))
            if pace.due(state.step):
                pace.begin()
                state.seconds = clock() - began
                save_checkpoint(output / "checkpoint.pt", form.module, optimizer, state, scaler)
                pace.done()
        state.seconds = clock() - began
        if evaluate is not None and stop_after is None and not log.has_evaluation(state.step):
            numbers = _evaluate(form, state, evaluate, log, output)
            if report is not None and recent:
                report(StepReport(state.step, 1.0, sum(recent) / len(recent), state.seconds, state.sequences, numbers))
        save_checkpoint(output / "checkpoint.pt", form.module, optimizer, state, scaler)
    mean = sum(recent) / len(recent) if recent else float("nan")
    return LoopResult(state.step, state.seconds, state.sequences, mean, output / "log.csv")


def _groups(config: RankerTrainingConfig, form: Architecture, sampler: GroupSampler, step: int) -> list[Group]:
    groups = sampler.step(step)
    if form.reads_order:
        # a stream of its own: the draw of groups must not depend on the form
        return swap_pairs(groups, np.random.default_rng([config.seed, step, 1]))
    return groups


def _step(
    config: RankerTrainingConfig,
    form: Architecture,
    groups: Sequence[Group],
    window: int,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[float, int]:
    """One optimiser step over all groups; returns its loss and the rows that were read."""
    optimizer.zero_grad(set_to_none=True)
    total, rows = 0.0, 0
    for part in _parts(groups, config.accumulation):
        sides = form.sides(part, window)
        loss = group_loss(sides.left, sides.right, part, config) * (len(part) / len(groups))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        total += loss.item()
        rows += sides.rows
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(form.module.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    return total, rows


def _parts(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Groups of similar length together, so that little is padding."""
    if count == 1:
        return [list(groups)]
    by_length = sorted(groups, key=lambda group: len(group.prompt) + max(map(len, group.answers)))
    size = math.ceil(len(by_length) / count)
    return [by_length[start : start + size] for start in range(0, len(by_length), size)]


def _evaluate(form: Architecture, state: RunState, evaluate: Evaluate, log: RunLog, output: Path) -> dict[str, float]:
    form.module.eval()
    with torch.no_grad():
        numbers = evaluate(form, state.step)
    form.module.train()
    log.evaluation(state.step, numbers)
    accuracies = [value for name, value in numbers.items() if "/" not in name]
    mean = sum(accuracies) / len(accuracies) if accuracies else -1.0
    if mean > state.best:
        state.best = mean
        save_weights(output / "best.pt", form.module, state)
    return numbers


def _begin(
    config: RankerTrainingConfig,
    form: Architecture,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> RunState:
    """Load the last checkpoint of the run, or what it begins with."""
    output = Path(config.output)
    if (output / "checkpoint.pt").is_file():
        return load_checkpoint(output / "checkpoint.pt", form.module, optimizer, scaler)
    if config.initial:
        load_checkpoint(config.initial, form.module)
    if config.start_share:
        # the ranker it starts from may have changed by the time of the export
        save_weights(output / START_FILE, form.module, RunState())
    return RunState()


def _progress(config: RankerTrainingConfig, step: int, seconds: float) -> float:
    by_time = seconds / (60.0 * config.minutes) if config.minutes > 0 else 0.0
    return max(step / config.steps, by_time)


def _rate(config: RankerTrainingConfig, progress: float) -> float:
    if progress < config.warmup:
        return (progress + 1e-3) / (config.warmup + 1e-3)
    return max(0.0, (1.0 - progress) / (1.0 - config.warmup))

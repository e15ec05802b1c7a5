"""The training loop: draw groups, score both sides of every pair, step; resume where the last run ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from blender_core.errors import RankerError
from blender_lab.ranker.architecture import Architecture
from blender_lab.ranker.checkpoint import START_FILE, RunState, load_checkpoint, save_checkpoint, save_weights
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.development import Evaluate
from blender_lab.ranker.losses import group_loss
from blender_lab.ranker.sampling import Group, GroupSampler, swap_pairs
from blender_lab.training.run_log import RunLog
from blender_lab.training.save_interval import SaveInterval

__all__ = ["LoopResult", "StepReport", "run_loop"]


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
    """Where a run is, for whoever watches.

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
    """Train, resuming from the last checkpoint in ``config.output`` where there is one.

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
                    f"in another output; initial = '{output / 'checkpoint.pt'}' goes on from the last checkpoint"
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
        return swap_pairs(groups, config.swap, np.random.default_rng([config.seed, step, 1]))
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
        # the ranker it goes on from may be another one by the time of the export
        save_weights(output / START_FILE, form.module, RunState())
    return RunState()


def _progress(config: RankerTrainingConfig, step: int, seconds: float) -> float:
    by_time = seconds / (60.0 * config.minutes) if config.minutes > 0 else 0.0
    return max(step / config.steps, by_time)


def _rate(config: RankerTrainingConfig, progress: float) -> float:
    if progress < config.warmup:
        return (progress + 1e-3) / (config.warmup + 1e-3)
    return max(0.0, (1.0 - progress) / (1.0 - config.warmup))

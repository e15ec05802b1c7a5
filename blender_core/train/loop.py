"""The training loop: draw groups, score every candidate once, logistic loss on score differences."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blender_core.errors import CheckpointError
from blender_core.rank.segments import SegmentedText, SegmentLayout
from blender_core.train.config import RankerTrainingConfig
from blender_core.train.model import SegmentPooledScorer
from blender_core.train.sampling import Group, GroupSampler

__all__ = ["LoopResult", "group_loss", "load_checkpoint", "run_loop", "score_rows"]

Evaluate = Callable[[SegmentPooledScorer, int], dict[str, float]]


@dataclass(frozen=True, slots=True)
class LoopResult:
    """How a run ended.

    Attributes:
        steps: Optimiser steps done, those before a resume included.
        seconds: Time spent, that before a resume included.
        sequences: Prompt and answer rows that were scored with gradient.
        loss: Mean loss of the last 50 steps.
        log: The CSV log.
    """

    steps: int
    seconds: float
    sequences: int
    loss: float
    log: Path


def score_rows(
    model: SegmentPooledScorer, rows: Sequence[SegmentedText], *, tokens_per_batch: int, bfloat16: bool
) -> torch.Tensor:
    """Score rows in batches of similar length, so that little is padding.

    Args:
        model: The scorer.
        rows: Encoded prompt and answer pairs.
        tokens_per_batch: Padded tokens in one forward pass.
        bfloat16: Mixed precision.

    Returns:
        Scores, shape (rows,), in the order of ``rows``.
    """
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index].token_ids))
    scores: list[torch.Tensor] = []
    device = next(model.parameters()).device
    start = 0
    while start < len(order):
        width = len(rows[order[start]].token_ids)
        part = order[start : start + max(1, tokens_per_batch // width)]
        ids = torch.zeros(len(part), width, dtype=torch.long)
        mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
        for line, index in enumerate(part):
            row = rows[index]
            ids[line, : len(row.token_ids)] = torch.tensor(row.token_ids)
            mask[line, : len(row.token_ids)] = 1
            kinds[line, row.answer_start : len(row.token_ids)] = 1
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            scores.append(model(ids.to(device), mask.to(device), kinds.to(device)).float())
        start += len(part)
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(scores)[back.to(device)]


def group_loss(scores: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
    """Logistic loss on score differences, averaged over a group's pairs and then over groups.

    Args:
        scores: Scores of all answers of all groups, one after another.
        groups: The groups.

    Returns:
        The loss; a target of 0.5 is a tie.
    """
    losses: list[torch.Tensor] = []
    start = 0
    for group in groups:
        own = scores[start : start + len(group.answers)]
        start += len(group.answers)
        first, second, target, weight = zip(*group.pairs, strict=True)
        margin = own[list(first)] - own[list(second)]
        weights = torch.tensor(weight, device=own.device)
        loss = nn.functional.binary_cross_entropy_with_logits(
            margin, torch.tensor(target, device=own.device), weight=weights, reduction="sum"
        )
        losses.append(loss / weights.sum())
    return torch.stack(losses).mean()


def run_loop(
    config: RankerTrainingConfig,
    model: SegmentPooledScorer,
    sampler: GroupSampler,
    layout: SegmentLayout,
    *,
    evaluate: Evaluate | None = None,
    clock: Callable[[], float] = time.monotonic,
    stop_after: int | None = None,
) -> LoopResult:
    """Train, resuming from the last checkpoint in ``config.output`` where there is one.

    Args:
        config: Settings.
        model: The scorer; changed in place.
        sampler: Draws the groups of a step.
        layout: How prompt and answer are joined.
        evaluate: Called with the model and the step; its numbers go into ``evaluations.jsonl``.
        clock: Seconds, monotonic.
        stop_after: Stop after this step as a kill would, with a checkpoint; for trials and tests.

    Returns:
        How it ended.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.json").write_text(json.dumps(config.to_dict(), indent=2), encoding="utf-8")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    optimizer = _optimizer(config, model)
    state = {"step": 0, "seconds": 0.0, "sequences": 0}
    if (output / "checkpoint.pt").is_file():
        state.update(load_checkpoint(output / "checkpoint.pt", model, optimizer))
    step, spent, sequences = int(state["step"]), float(state["seconds"]), int(state["sequences"])
    began = clock() - spent
    recent: list[float] = []
    model.train()
    with (output / "log.csv").open("a", newline="", encoding="utf-8") as file:
        log = csv.writer(file)
        if file.tell() == 0:
            log.writerow(["step", "progress", "seconds", "sequences", "max_tokens", "learning_rate", "loss"])
        while True:
            progress = _progress(config, step, clock() - began)
            if progress >= 1.0 or step == stop_after:
                break
            groups = sampler.step(step)
            window = config.window(progress)
            rows = [layout.join(group.prompt, answer, window) for group in groups for answer in group.answers]
            rate = _rate(config, progress)
            for settings in optimizer.param_groups:
                settings["lr"] = settings["peak"] * rate
            scores = score_rows(model, rows, tokens_per_batch=config.tokens_per_batch, bfloat16=config.bfloat16)
            loss = group_loss(scores, groups)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            sequences += len(rows)
            recent = [*recent[-49:], loss.item()]
            spent = clock() - began
            log.writerow(
                [step, f"{progress:.4f}", f"{spent:.1f}", sequences, window, f"{rate:.4f}", f"{recent[-1]:.4f}"]
            )
            file.flush()
            if evaluate is not None and step % config.evaluate_every == 0:
                _evaluate(model, step, evaluate, output)
            if step % config.save_every == 0:
                _save(output / "checkpoint.pt", model, optimizer, step, clock() - began, sequences)
    spent = clock() - began
    _save(output / "checkpoint.pt", model, optimizer, step, spent, sequences)
    if evaluate is not None and stop_after is None:
        _evaluate(model, step, evaluate, output)
    mean = sum(recent) / len(recent) if recent else float("nan")
    return LoopResult(step, spent, sequences, mean, output / "log.csv")


def load_checkpoint(
    path: str | Path, model: SegmentPooledScorer, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Load a checkpoint of :func:`run_loop`.

    Args:
        path: The file; read with ``weights_only=True``.
        model: Takes the weights.
        optimizer: Takes its state, where given.

    Returns:
        ``step``, ``seconds`` and ``sequences`` so far.

    Raises:
        CheckpointError: The file does not fit the model.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(stored["model"])
        if optimizer is not None:
            optimizer.load_state_dict(stored["optimizer"])
            torch.set_rng_state(stored["rng"])
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not fit this model: {error}; remove it to start afresh, or use the run's own settings"
        ) from error
    return {key: stored[key] for key in ("step", "seconds", "sequences")}


def _save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float, sequences: int
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "step": step,
        "seconds": seconds,
        "sequences": sequences,
    }
    # written beside and moved, so that a kill leaves the last good one
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def _evaluate(model: SegmentPooledScorer, step: int, evaluate: Evaluate, output: Path) -> None:
    model.eval()
    with torch.no_grad():
        numbers = evaluate(model, step)
    model.train()
    with (output / "evaluations.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **numbers}) + "\n")


def _optimizer(config: RankerTrainingConfig, model: SegmentPooledScorer) -> torch.optim.AdamW:
    if config.freeze_embeddings:
        for name, parameter in model.encoder.named_parameters():
            parameter.requires_grad_(not name.startswith("embeddings."))
    encoder = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": encoder, "lr": config.learning_rate, "peak": config.learning_rate},
        {"params": list(model.head.parameters()), "lr": config.head_learning_rate, "peak": config.head_learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _progress(config: RankerTrainingConfig, step: int, seconds: float) -> float:
    by_time = seconds / (60.0 * config.minutes) if config.minutes > 0 else 0.0
    return max(step / config.steps, by_time)


def _rate(config: RankerTrainingConfig, progress: float) -> float:
    if progress < config.warmup:
        return (progress + 1e-3) / (config.warmup + 1e-3)
    return max(0.0, (1.0 - progress) / (1.0 - config.warmup))

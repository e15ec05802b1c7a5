"""Checkpoints of a run: all that is needed to go on as if nothing had happened."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blender_core.errors import CheckpointError

__all__ = [
    "START_FILE",
    "RunState",
    "load_average",
    "load_checkpoint",
    "load_mean",
    "mix_with_start",
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
    """Write a checkpoint; whoever kills the run meanwhile leaves the one before it.

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
    _write(path, values)


def save_weights(path: Path, model: nn.Module, state: RunState) -> None:
    """Write weights alone, for a model that is kept and not trained further."""
    _write(path, {"model": model.state_dict(), "step": state.step, "best": state.best})


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


def load_average(paths: Sequence[str | Path], model: nn.Module) -> None:
    """Load the mean of the weights of several runs that began with the same weights.

    Fine-tuned from one start they lie close enough together that their mean is often better than each (Wortsman et
    al. 2022, "Model soups").

    Args:
        paths: Checkpoints; one alone is loaded as it is.
        model: Takes the weights.

    Raises:
        CheckpointError: There is no file, or one does not fit the model.
    """
    if not paths:
        raise CheckpointError("no checkpoint to load; give at least one")
    states = []
    for path in paths:
        load_checkpoint(path, model)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    load_mean(states, model)


def load_mean(states: Sequence[Mapping[str, torch.Tensor]], model: nn.Module) -> None:
    """Load the mean of several states of a network.

    Args:
        states: What ``state_dict`` gives, at least one; all with the names and shapes of the model's.
        model: Takes the weights.
    """
    total = {name: sum((state[name] for state in states[1:]), value) for name, value in states[0].items()}
    model.load_state_dict(
        {name: v / len(states) if v.is_floating_point() else v // len(states) for name, v in total.items()}
    )


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


def _write(path: Path, values: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        torch.save(values, file)
        file.flush()
        # after a power cut the name must not point to an empty file
        os.fsync(file.fileno())
    os.replace(new, path)

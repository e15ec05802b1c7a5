"""The precision that a run's forward passes have on the device at hand."""

from __future__ import annotations

import logging
from typing import Any

import torch

from blender_core.models.bfloat16 import computes_bfloat16
from blender_lab.ranker.config import RankerTrainingConfig

__all__ = ["bfloat16_pays", "forward_precision", "mixed_precision"]

_log = logging.getLogger(__name__)


def bfloat16_pays(device: torch.device) -> bool:
    """Whether ``bfloat16 = true`` is followed; where it is not, the log says so.

    Args:
        device: Where the run computes.

    Returns:
        ``False`` on a CPU without instructions for bfloat16.
    """
    if computes_bfloat16(device):
        return True
    _log.info("this CPU has no bfloat16 instructions, so bfloat16 would be slower than float32; computing in float32")
    return False


def forward_precision(config: RankerTrainingConfig, device: torch.device) -> str:
    """What ``precision`` and ``bfloat16`` of a configuration come to.

    Args:
        config: Settings.
        device: Where the run computes.

    Returns:
        ``precision`` where it is given; else ``"bfloat16"`` if that is wanted and pays, and ``"float32"`` if not.
    """
    if config.precision:
        return config.precision
    return "bfloat16" if config.bfloat16 and bfloat16_pays(device) else "float32"


def mixed_precision(device: torch.device, precision: str) -> Any:
    """The context for forward passes.

    Args:
        device: Where they are computed.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Returns:
        A context manager.
    """
    return torch.autocast(device.type, dtype=getattr(torch, precision), enabled=precision != "float32")

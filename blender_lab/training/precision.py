"""The precision that a run's forward passes have on the device at hand."""

from __future__ import annotations

import logging
from typing import Any

import torch

from blender_core.models.bfloat16 import computes_bfloat16

__all__ = ["bfloat16_pays", "forward_precision", "mixed_precision"]

_log = logging.getLogger(__name__)


def bfloat16_pays(device: torch.device) -> bool:
    """Tell whether bfloat16 is faster than float32; if not, the log says so.

    Args:
        device: Where the run computes.

    Returns:
        ``False`` on a CPU without instructions for bfloat16.
    """
    if computes_bfloat16(device):
        return True
    _log.info("this CPU has no bfloat16 instructions, so bfloat16 would be slower than float32; computing in float32")
    return False


def forward_precision(precision: str, device: torch.device) -> str:
    """Choose the precision of forward passes.

    Args:
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"``.
        device: Where the run computes.

    Returns:
        ``"bfloat16"`` for ``"auto"`` if the device has instructions for it, else ``"float32"``; the others as given.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if bfloat16_pays(device) else "float32"


def mixed_precision(device: torch.device, precision: str) -> Any:
    """Make the context for forward passes.

    Args:
        device: Where they are computed.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Returns:
        A context manager.
    """
    return torch.autocast(device.type, dtype=getattr(torch, precision), enabled=precision != "float32")

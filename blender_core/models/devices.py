"""Resolve the names of torch devices and dtypes."""

from __future__ import annotations

import torch

from blender_core.errors import ConfigurationError

__all__ = ["resolve_device", "resolve_dtype"]


def resolve_device(name: str) -> torch.device:
    """Find a device by name.

    Args:
        name: ``"auto"`` (CUDA, else Apple's MPS, else the CPU) or a torch device such as ``"cuda:1"``.

    Returns:
        The device.

    Raises:
        ConfigurationError: Torch does not know the device, or this machine lacks it; use ``"auto"``.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"device {name!r} is unknown: {error}") from error
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(device.type, False):
        raise ConfigurationError(f"device {name!r} is not available on this machine; use device='auto' or 'cpu'")
    return device


def resolve_dtype(name: str, device: torch.device, *, made_in: str | None = None) -> torch.dtype:
    """Find a dtype by name.

    Args:
        name: ``"auto"`` (float32 on a CPU, float16 elsewhere, as in the reference), ``"float32"``, ``"float16"`` or
            ``"bfloat16"``.
        device: Where the model runs.
        made_in: The dtype that the checkpoint names. One made in bfloat16 may overflow in float16: elsewhere than on a
            CPU, ``"auto"`` is then bfloat16, or float32 if the device has no bfloat16.

    Returns:
        The dtype.

    Raises:
        ConfigurationError: The name is none of float32, float16, bfloat16.
    """
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        if made_in == "bfloat16":
            return torch.bfloat16 if _has_bfloat16(device) else torch.float32
        return torch.float16
    if name not in known:
        raise ConfigurationError(f"dtype {name!r} is unknown; choose 'auto' or one of {', '.join(sorted(known))}")
    return known[name]


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None
    try:
        torch.zeros(1, dtype=torch.bfloat16, device=device)
    except (RuntimeError, TypeError):
        return False
    return True

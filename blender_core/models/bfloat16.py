"""Check if a processor has bfloat16 instructions; without them bfloat16 is slow."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["computes_bfloat16"]

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def computes_bfloat16(device: torch.device) -> bool:
    """Check if a device has instructions for bfloat16.

    A CPU without them computes each product in float32 and converts around it, which is several times slower than
    float32 alone (``research/training.md`` has a measurement).

    Args:
        device: Device that computes. All devices other than CPUs are assumed to have them.

    Returns:
        ``False`` if torch reports none for the CPU; ``True`` if torch is too old to tell.

    Examples:
        >>> import torch
        >>> computes_bfloat16(torch.device("cuda"))
        True
    """
    import torch

    if device.type != "cpu":
        return True
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        has = ask()
        return any(has.get(name, False) for name in _INSTRUCTIONS)
    # the older function covers x86 only
    older = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return True if older is None or platform.machine() not in ("AMD64", "x86_64") else bool(older())

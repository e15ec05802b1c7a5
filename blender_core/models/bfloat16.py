"""Find out if a processor computes in bfloat16; without such instructions it is slow."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["computes_bfloat16"]

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16.

    A CPU without them computes each product in float32 and converts around it, which is several times slower than
    float32 alone (``docs/training.md`` has a measurement).

    Args:
        device: Where the computing is done. Any but a CPU is taken to have them.

    Returns:
        ``False`` for a CPU that torch says has none; ``True`` if torch is too old to tell.

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
    # what torch had before it; says nothing of other architectures
    older = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return True if older is None or platform.machine() not in ("AMD64", "x86_64") else bool(older())

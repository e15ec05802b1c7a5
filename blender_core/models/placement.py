"""Place a model's weights on devices (accelerate), in 8 or 4 bits (bitsandbytes)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require

__all__ = ["QUANTIZATIONS", "model_placement"]

QUANTIZATIONS = ("4bit", "8bit")
"""Names of the quantizations."""


def model_placement(
    device_map: str | Mapping[str, Any] | None, quantization: str | None, *, device: str, dtype: Any
) -> dict[str, Any]:
    """Choose the arguments of ``from_pretrained`` that place and quantize a model.

    Args:
        device_map: As in transformers; ``None`` uses ``device``.
        quantization: ``"8bit"`` (LLM.int8, Dettmers et al. 2022), ``"4bit"`` (bitsandbytes' default, fp4) or ``None``.
        device: ``"auto"`` or a torch device, for quantized weights without a ``device_map``.
        dtype: The torch dtype in which 4-bit weights are multiplied.

    Returns:
        The arguments; empty if the caller moves the model to its device.

    Raises:
        ConfigurationError: The quantization is unknown.
        MissingExtraError: accelerate or bitsandbytes is not installed; install ``blended-llm[quantization]``.
    """
    if quantization not in (None, *QUANTIZATIONS):
        raise ConfigurationError(f"quantization {quantization!r} is unknown; choose '8bit', '4bit' or None")
    if device_map is None and quantization is None:
        return {}
    require("accelerate", feature="device_map and quantization", extra="quantization")
    if quantization is None:
        return {"device_map": device_map}
    require("bitsandbytes", feature=f"quantization={quantization!r}", extra="quantization")
    # it logs the same cast at every multiplication
    logging.getLogger("bitsandbytes.autograd._functions").addFilter(_no_word_of_casts)
    import transformers

    settings: Any = transformers.BitsAndBytesConfig
    return {
        "device_map": device_map or ("auto" if device == "auto" else {"": device}),
        "quantization_config": (
            settings(load_in_8bit=True)
            if quantization == "8bit"
            else settings(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)
        ),
    }


def _no_word_of_casts(record: logging.LogRecord) -> bool:
    return "inputs will be cast" not in str(record.msg)

"""Define the configuration objects of the ``llm-blender`` package."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from blender_core.errors import ConfigurationError

__all__ = ["BlenderConfig", "GenFuserConfig", "RankerConfig", "with_options"]


@dataclass
class BlenderConfig:
    """Holds the settings of the whole ``Blender``.

    Attributes:
        device: Device of the models: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device. The old package's default
            was ``"cuda"``, which failed on other machines.
        use_tqdm: Kept for old scripts; no progress bars are shown.
    """

    device: str = "auto"
    use_tqdm: bool = True


@dataclass
class RankerConfig:
    """Holds the settings of the ranker.

    Fields marked "Kept" serve old scripts and change nothing.

    Attributes:
        ranker_type: Kept.
        model_type: Kept.
        model_name: Kept; no base model is loaded next to the checkpoint.
        cache_dir: Cache folder of the hub; default huggingface_hub's.
        load_checkpoint: Folder or repository; ``Blender(ranker_config=…)`` loads it.
        source_maxlength: Most tokens of the prompt; default the checkpoint's.
        candidate_maxlength: Most tokens of a candidate next to a full prompt; default the checkpoint's.
        n_tasks: Kept; read from the weights.
        num_pos: Kept.
        num_neg: Kept.
        sub_sampling_mode: Kept.
        sub_sampling_ratio: Kept.
        loss_type: Kept.
        reduce_type: Kept.
        inference_mode: Kept.
        drop_out: Kept.
        fp16: Use float16 on a GPU, as the old package does; a CPU runs in float32.
        device: Overrides ``BlenderConfig.device``.
    """

    ranker_type: str | None = None
    model_type: str | None = None
    model_name: str | None = None
    cache_dir: str | None = None
    load_checkpoint: str | None = None
    source_maxlength: int | None = None
    candidate_maxlength: int | None = None
    n_tasks: int = 1
    num_pos: int = 1
    num_neg: int = 1
    sub_sampling_mode: str = "all_pair"
    sub_sampling_ratio: float = 0.5
    loss_type: str = "instructgpt"
    reduce_type: str = "linear"
    inference_mode: str = "bubble"
    drop_out: float = 0.05
    fp16: bool = True
    device: str | None = None


@dataclass
class GenFuserConfig:
    """Holds the settings of the fuser.

    Attributes:
        model_name: Folder or repository.
        cache_dir: Cache folder of the hub.
        max_length: Most tokens of the input.
        candidate_maxlength: Most tokens of one candidate, and of the output.
        torch_dtype: ``"bfloat16"``, ``"float16"`` or ``"float32"``.
        load_in_4bit: Quantise with bitsandbytes.
        load_in_8bit: Quantise with bitsandbytes.
        device: Overrides ``BlenderConfig.device``.
    """

    model_name: str = "llm-blender/gen_fuser_3b"
    cache_dir: str | None = None
    max_length: int = 1024
    candidate_maxlength: int = 128
    torch_dtype: str = "bfloat16"
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    device: str | None = None


def with_options(config: Any, options: dict[str, Any]) -> None:
    """Set options on a config.

    Args:
        config: One of the configs above; it is changed.
        options: Values by field name.

    Raises:
        ConfigurationError: The config has no such field.
    """
    known = {field.name for field in fields(config)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigurationError(
            f"{type(config).__name__} has no {', '.join(unknown)}; its fields are {', '.join(sorted(known))}"
        )
    for name, value in options.items():
        setattr(config, name, value)

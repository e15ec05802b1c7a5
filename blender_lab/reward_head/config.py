"""Settings of a reward head's training: one file says everything about a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from blender_core.errors import ConfigurationError
from blender_core.rank.reward_head import ReaderSettings
from blender_lab.training.settings import Part, RunSettings, Seed, as_tuple, refusal
from blender_lab.training.sources import SourceConfig

__all__ = ["RewardHeadConfig"]

# the engine's dataclass with its types checked
_CheckedReader: Any = dataclass(ReaderSettings, frozen=True, config=ConfigDict(extra="forbid", strict=True))


def _reader(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    try:
        return ReaderSettings(**asdict(_CheckedReader(**value)))
    except ValidationError as error:
        raise ConfigurationError(refusal(error)) from None


class RewardHeadConfig(RunSettings):
    """Settings of one run.

    Attributes:
        output: Folder for the head and the vectors.
        reader: The frozen model and how it reads; ``[reader]`` in the file.
        sources: Where the records come from; ``share``, ``by_model`` and ``slope`` count.
        decays: Penalties on the squared weights that are tried, by fourfold cross-validation.
        development_share: Share of prompts that is held out.
        tokens_per_batch: Padded tokens in one forward pass.
        device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.
        threads: Torch threads.
        seed: Another seed holds out other prompts.

    Examples:
        >>> config = RewardHeadConfig.from_dict({"reader": {"model": "qwen2.5-coder-0.5b", "layers": 16},
        ...     "output": "o", "sources": {"mine": {"file": "mine.jsonl"}}})
        >>> config.reader.layers
        16
    """

    reader: Annotated[ReaderSettings, BeforeValidator(_reader)]
    sources: dict[str, SourceConfig] = Field(min_length=1)
    decays: Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        *(0.01, 0.03, 0.1),
        *(0.3, 1.0, 3.0),
    )
    development_share: Part = 0.08
    tokens_per_batch: int = Field(default=2048, ge=1)
    device: str = "auto"
    threads: int = Field(default=1, ge=1)
    seed: Seed = 0

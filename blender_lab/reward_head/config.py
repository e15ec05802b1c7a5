"""Settings of a reward head's training: one file says everything about a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.rank.reward_head import ReaderSettings
from blender_lab.ranker.config import SourceConfig
from blender_lab.training.settings import LARGEST_SEED, PART, Range, at_least, built, check_settings, read_settings

__all__ = ["RewardHeadConfig"]


@dataclass(frozen=True, slots=True)
class RewardHeadConfig:
    """Settings of one run.

    Attributes:
        reader: The frozen model and how it reads; ``[reader]`` in the file.
        output: Folder for the head and the vectors.
        sources: Where the records come from; ``share``, ``by_model``, ``slope`` and ``smallest_gap`` count.
        decays: Penalties on the squared weights that are tried, by fourfold cross-validation.
        development_share: Share of prompts that is held out.
        tokens_per_batch: Padded tokens in one forward pass.
        device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.
        threads: Threads of torch.
        seed: Another seed holds out other prompts.
    """

    reader: ReaderSettings
    output: str
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    decays: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    development_share: float = 0.08
    tokens_per_batch: int = 2048
    device: str = "auto"
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                **dict.fromkeys(("tokens_per_batch", "threads"), at_least(1)),
                "development_share": PART,
                "seed": Range(0, LARGEST_SEED),
            },
        )
        if not self.sources:
            raise ConfigurationError("no sources: name at least one [sources.NAME] with its file")
        if not self.decays or min(self.decays) <= 0:
            raise ConfigurationError(f"decays is {self.decays}; give at least one, all above 0")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RewardHeadConfig:
        """Build from plain types.

        Raises:
            ConfigurationError: A setting is unknown, missing or cannot be used.

        Examples:
            >>> config = RewardHeadConfig.from_dict({"reader": {"model": "qwen2.5-coder-0.5b", "layers": 16},
            ...     "output": "o", "sources": {"mine": {"file": "mine.jsonl"}}})
            >>> config.reader.layers
            16
        """
        return built(cls, data)

    @classmethod
    def load(cls, path: str | Path) -> RewardHeadConfig:
        """Read a TOML or JSON file.

        Raises:
            ConfigurationError: The file is missing, or holds no usable settings.
        """
        return cls.from_dict(read_settings(path))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain types; :meth:`from_dict` reads them back."""
        return dataclasses.asdict(self)

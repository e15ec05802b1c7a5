"""One file says everything about a training run."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError

__all__ = ["RankerTrainingConfig", "SourceConfig", "Stage"]


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One source of preference records.

    Attributes:
        file: File below the data folder, for example ``"train/arena_bench.jsonl.gz"``.
        share: Weight of the source when prompts are drawn.
        only: Keep only records with one of these ``source`` values; empty for all.
        group: Candidates drawn for one prompt.
        by_model: The labels depend on the models alone: fit one strength per model and order by it.
        refusals: A refusal may serve as a bad answer (not where prompts should be refused).
    """

    file: str
    share: float = 1.0
    only: tuple[str, ...] = ()
    group: int = 5
    by_model: bool = False
    refusals: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run with its own window.

    Attributes:
        max_tokens: Window in tokens, special tokens included.
        until: Progress in (0, 1] at which the stage ends.
    """

    max_tokens: int
    until: float = 1.0


@dataclass(frozen=True, slots=True)
class RankerTrainingConfig:
    """Settings of one training run of the embedded ranker.

    Attributes:
        encoder: Folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
        output: Folder for checkpoints, the log and the token cache.
        sources: Where the records come from, by name.
        stages: Windows, in order of progress.
        steps: Optimiser steps.
        minutes: Time limit; the schedule runs on whichever of steps and minutes is further. 0 for none.
        records_per_step: Prompts drawn for one step.
        learning_rate: Peak rate of the encoder.
        head_learning_rate: Peak rate of the head.
        weight_decay: AdamW's decay.
        warmup: Share of progress with a rising rate; after it the rate falls linearly to 0.
        dropout: Dropout on the pooled features; the encoder has none.
        freeze_embeddings: Leave the encoder's embeddings as they are.
        head_size: Width of the head's hidden layer.
        corruption: Probability that one worsened answer joins a group.
        length_balance: 0 takes pairs as they come; 1 weights them so that, within a source, the longer and
            the shorter candidate win equally often.
        development_share: Share of prompts held out.
        development_records: Held-out records a source that are judged while training.
        evaluate_every: Steps between two such judgements.
        save_every: Steps between two checkpoints.
        tokens_per_batch: Padded tokens in one forward pass.
        threads: Torch threads.
        bfloat16: Mixed precision.
        seed: Seed of everything random.
    """

    encoder: str
    output: str
    sources: dict[str, SourceConfig]
    stages: tuple[Stage, ...] = (Stage(256),)
    steps: int = 1000
    minutes: float = 0.0
    records_per_step: int = 6
    learning_rate: float = 1e-4
    head_learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    dropout: float = 0.1
    freeze_embeddings: bool = True
    head_size: int = 384
    corruption: float = 0.5
    length_balance: float = 0.5
    development_share: float = 0.08
    development_records: int = 30
    evaluate_every: int = 200
    save_every: int = 100
    tokens_per_batch: int = 4096
    threads: int = 1
    bfloat16: bool = True
    seed: int = 0
    notes: str = field(default="")

    def __post_init__(self) -> None:
        if not self.sources or any(source.share < 0 for source in self.sources.values()):
            raise ConfigurationError(f"sources {self.sources!r}: give at least one, with shares of 0 or more")
        if not self.stages or self.stages[-1].until < 1.0:
            raise ConfigurationError(f"stages {self.stages!r}: the last one must have until = 1.0")
        if self.steps < 1 or self.records_per_step < 1:
            raise ConfigurationError(
                f"steps={self.steps}, records_per_step={self.records_per_step}: both must be at least 1"
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RankerTrainingConfig:
        """Build from plain types.

        Raises:
            ConfigurationError: An unknown or missing setting.

        Example:
            >>> config = RankerTrainingConfig.from_dict({"encoder": "e", "output": "o",
            ...     "sources": {"mine": {"file": "mine.jsonl"}}, "stages": [{"max_tokens": 128}]})
            >>> config.stages[0].max_tokens, config.sources["mine"].group
            (128, 5)
        """
        values = dict(data)
        try:
            values["sources"] = {
                name: SourceConfig(**{**source, "only": tuple(source.get("only", ()))})
                for name, source in values.get("sources", {}).items()
            }
            if "stages" in values:
                values["stages"] = tuple(Stage(**stage) for stage in values["stages"])
            return cls(**values)
        except TypeError as error:
            raise ConfigurationError(f"training settings cannot be read: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> RankerTrainingConfig:
        """Read a TOML or JSON file.

        Raises:
            ConfigurationError: The file is missing, or holds no usable settings.
        """
        path = Path(path)
        if not path.is_file():
            raise ConfigurationError(f"no configuration file {path}; give a TOML or JSON file")
        text = path.read_text(encoding="utf-8")
        try:
            data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{path} is neither TOML nor JSON: {error}") from error
        return cls.from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain types; :meth:`from_dict` reads them back."""
        return dataclasses.asdict(self)

    def window(self, progress: float) -> int:
        """Window in tokens at a progress in [0, 1]."""
        return next((stage for stage in self.stages if progress < stage.until), self.stages[-1]).max_tokens

"""One file says everything about a training run of a fuser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_lab.training.settings import (
    LARGEST_SEED,
    PART,
    Allowed,
    Range,
    above,
    at_least,
    built,
    check_settings,
    read_settings,
)

__all__ = ["FuserTrainingConfig", "LoraConfig"]

_COUNTS = ("top_k", "max_length", "candidate_max_length", "target_max_length", "batch_size", "accumulate", "log_every")

_ALLOWED: Allowed = {
    "prompt_format": ("auto", "published", "paper", "chat"),
    "device": ("auto", "cpu"),
    **dict.fromkeys((*_COUNTS, "evaluate_every", "development_records"), at_least(1)),
    **dict.fromkeys(("epochs", "learning_rate"), above(0)),
    **dict.fromkeys(("minutes", "weight_decay", "max_gradient_norm", "save_every", "threads"), at_least(0)),
    **dict.fromkeys(("freeze_layers", "training_records"), at_least(0)),
    **dict.fromkeys(("noise", "warmup", "test_share"), PART),
    "development_share": Range(0, 1, with_low=False, with_high=False),
    "seed": Range(0, LARGEST_SEED),
}


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Low-rank adapters in place of all weights (Hu et al. 2021), by peft; merged when the run is done.

    Attributes:
        rank: Rank of the update matrices.
        alpha: The update is scaled by ``alpha / rank``.
        dropout: Dropout in front of the adapters.
        target_modules: Which layers get one: names of modules, or ``"all-linear"`` for every one but the head.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        check_settings(self, {"rank": at_least(1), "alpha": at_least(1), "dropout": PART})


@dataclass(frozen=True, slots=True)
class FuserTrainingConfig:
    """Settings of one training run of a fuser. The defaults are those of the published ``gen_fuser_3b``.

    Attributes:
        model: What to start from: a folder, a hub name, a GGUF file, or a name in the catalogue of local models.
        output: Folder for checkpoints, the log and the finished model.
        files: Training data below the data folder, in MixInstruct's schema or with ``reference`` in place of
            ``output``.
        prompt_format: As in `GenFuser.from_pretrained`: ``"auto"`` is ``"published"`` for T5, ``"chat"`` else.
        ranker: Chooses the candidates: what `resolve_ranker` takes.
        top_k: Candidates in one input.
        shuffle: Shuffle the chosen candidates, as published; else best first, as they come when fusing.
        noise: Probability that the last of the chosen candidates is one that answers another prompt; the notebook
            that made the published data has it as an option, with 0.1.
        cut_repeats: Cut what a looping candidate or reference repeats.
        max_length: Most tokens of the input.
        candidate_max_length: Most tokens of one candidate.
        target_max_length: Most tokens of the reference; a longer one is cut and not marked as ended.
        epochs: Passes over the training records.
        minutes: Time limit; the schedule runs on whichever of epochs and minutes is further. 0 for none.
        learning_rate: Peak rate.
        warmup: Share of progress with a rising rate; after it the rate falls linearly to 0.
        weight_decay: Decay of the optimizer.
        optimizer: Name as in transformers' ``TrainingArguments.optim``.
        batch_size: Sequences in one forward pass of one device.
        accumulate: Forward passes before a step; published were 6 x 4 on 5 devices, 120 sequences a step.
        max_gradient_norm: Gradients are clipped to this norm.
        bfloat16: Mixed precision; a CPU without instructions for it computes in float32, which is faster there.
        freeze_embeddings: Leave the embeddings, and a head that is tied to them, as they are.
        freeze_layers: Leave the embeddings and this many of a decoder-only model's first layers as they are; nothing
            is propagated back into them, which saves up to two thirds of the arithmetic.
        lora: Train adapters only; ``None`` trains all weights.
        training_records: Most training records, the first of them in file order; 0 for all.
        development_share: Share of prompts held out to watch the run.
        development_records: Most held-out records that are looked at while training.
        test_share: Share of prompts held out to report on; never looked at while training.
        evaluate_every: Steps between two evaluations.
        save_every: Steps between two checkpoints; 0: as often as saving takes at most a tenth of the time, so that a
            killed run loses the step in flight, or ten times what a save takes and one step where saving is dear.
            With ``keep_best`` a step that is evaluated is saved too.
        log_every: Steps between two lines of the log.
        keep_best: Finish with the checkpoint of least held-out loss, as published; else with the last.
        device: ``"auto"`` or ``"cpu"``.
        threads: Torch threads on a CPU; 0 leaves torch's own choice.
        generation: Arguments of ``generate`` that the finished fuser uses, over the defaults of `GenFuser`.
        seed: Seed of the split, the data and the training.
        notes: Anything worth keeping with the run.
    """

    model: str
    output: str
    files: tuple[str, ...]
    prompt_format: str = "auto"
    ranker: str = "embedded"
    top_k: int = 3
    shuffle: bool = True
    noise: float = 0.0
    cut_repeats: bool = True
    max_length: int = 1024
    candidate_max_length: int | None = 128
    target_max_length: int = 128
    epochs: float = 15.0
    minutes: float = 0.0
    learning_rate: float = 5e-5
    warmup: float = 0.0
    weight_decay: float = 0.0
    optimizer: str = "adamw_torch"
    batch_size: int = 6
    accumulate: int = 20
    max_gradient_norm: float = 1.0
    bfloat16: bool = True
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    lora: LoraConfig | None = None
    training_records: int = 0
    development_share: float = 0.05
    development_records: int = 200
    test_share: float = 0.1
    evaluate_every: int = 100
    save_every: int = 0
    log_every: int = 10
    keep_best: bool = True
    device: str = "auto"
    threads: int = 0
    generation: dict[str, Any] = field(default_factory=dict)
    seed: int = 42
    notes: str = ""

    def __post_init__(self) -> None:
        check_settings(self, _ALLOWED)
        if not self.files:
            raise ConfigurationError("files is empty; name at least one file of training data")
        if self.development_share + self.test_share >= 1:
            raise ConfigurationError(
                f"development_share {self.development_share} and test_share {self.test_share}: something must be left "
                "to train on"
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FuserTrainingConfig:
        """Build from plain types.

        Args:
            data: The settings by name; ``lora`` is a table of its own.

        Returns:
            The settings.

        Raises:
            ConfigurationError: An unknown, missing or unusable setting.

        Examples:
            >>> config = FuserTrainingConfig.from_dict({"model": "m", "output": "o", "files": ["f"],
            ...     "lora": {"rank": 8}})
            >>> config.lora.rank, config.top_k, config.learning_rate
            (8, 3, 5e-05)
        """
        return built(cls, data)

    @classmethod
    def load(cls, path: str | Path) -> FuserTrainingConfig:
        """Read a TOML or JSON file.

        Args:
            path: The file.

        Returns:
            The settings.

        Raises:
            ConfigurationError: The file is missing, or holds no usable settings.
        """
        return cls.from_dict(read_settings(path))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain types; :meth:`from_dict` reads them back."""
        return dataclasses.asdict(self)

"""Settings of a fuser's training: one file says everything about a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from blender_core.errors import ConfigurationError
from blender_lab.training.settings import Names, Part, RunSettings, Seed, Settings

__all__ = ["FuserTrainingConfig", "LoraConfig"]


class LoraConfig(Settings):
    """Low-rank adapters instead of all weights (Hu et al. 2021), by peft; merged when the run is done.

    Attributes:
        rank: Rank of the update matrices.
        alpha: The update is scaled by ``alpha / rank``.
        dropout: Dropout in front of the adapters.
        target_modules: Which layers get one: names of modules, or ``"all-linear"`` for every one but the head.
    """

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: Part = 0.0
    target_modules: Names = ("all-linear",)


class FuserTrainingConfig(RunSettings):
    """Settings of one training run of a fuser. The defaults are those of the published ``gen_fuser_3b``.

    Attributes:
        output: Folder for checkpoints, the log and the finished model.
        model: What to start from: a folder, a hub name, a GGUF file, or a name in the catalogue of local models.
        files: Training data below the data folder, in MixInstruct's schema or with ``reference`` in place of
            ``output``.
        prompt_format: As in `GenFuser.from_pretrained`: ``"published"`` or ``"paper"`` for T5, ``"chat"`` for others.
            ``"auto"`` is ``"published"`` for T5, ``"chat"`` else.
        ranker: Chooses the candidates: what `resolve_ranker` takes.
        top_k: Candidates in one input.
        shuffle: Shuffle the chosen candidates, as published; else best first, as they come when fusing.
        cut_repeats: Cut what a looping candidate or reference repeats.
        max_length: Most tokens of the input.
        candidate_max_length: Most tokens of one candidate.
        target_max_length: Most tokens of the reference; a longer one is cut and not marked as ended.
        epochs: Passes over the training records.
        minutes: Time limit; the schedule follows epochs or minutes, whichever is further. 0 for none.
        learning_rate: Peak rate.
        warmup: Share of progress with a rising rate; after it the rate falls linearly to 0.
        weight_decay: Decay of the optimizer.
        optimizer: Name as in transformers' ``TrainingArguments.optim``.
        batch_size: Sequences in one forward pass of one device.
        accumulate: Forward passes before a step; published were 6 x 4 on 5 devices, 120 sequences a step.
        bfloat16: Mixed precision; a CPU without instructions for it computes in float32, which is faster there.
        freeze_layers: Leave the embeddings and this many of a decoder-only model's first layers as they are. Nothing
            is propagated back into them, which saves up to two thirds of the arithmetic.
        lora: Train adapters only; ``None`` trains all weights.
        development_share: Share of prompts held out to watch the run.
        development_records: Most held-out records that are looked at while training.
        test_share: Share of prompts held out to report on; never looked at while training.
        evaluate_every: Steps between two evaluations.
        save_every: Steps between two checkpoints. 0 saves as often as possible while spending at most 10% of the time
            on it. With ``keep_best`` a step that is evaluated is saved too.
        log_every: Steps between two lines of the log.
        keep_best: Finish with the checkpoint of least held-out loss, as published; else with the last.
        device: ``"auto"`` or ``"cpu"``.
        threads: Torch threads on a CPU; 0 leaves torch's own choice.
        generation: Arguments of ``generate`` that the finished fuser uses, over the defaults of `GenFuser`.
        seed: Seed of the split, the data and the training.

    Examples:
        >>> config = FuserTrainingConfig.from_dict({"model": "m", "output": "o", "files": ["f"],
        ...     "lora": {"rank": 8}})
        >>> config.lora.rank, config.top_k, config.learning_rate
        (8, 3, 5e-05)
    """

    model: str
    files: Annotated[Names, Field(min_length=1)]
    prompt_format: Literal["auto", "chat", "paper", "published"] = "auto"
    ranker: str = "embedded"
    top_k: int = Field(default=3, ge=1)
    shuffle: bool = True
    cut_repeats: bool = True
    max_length: int = Field(default=1024, ge=1)
    candidate_max_length: Annotated[int, Field(ge=1)] | None = 128
    target_max_length: int = Field(default=128, ge=1)
    epochs: float = Field(default=15.0, gt=0)
    minutes: float = Field(default=0.0, ge=0)
    learning_rate: float = Field(default=5e-5, gt=0)
    warmup: Part = 0.0
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer: str = "adamw_torch"
    batch_size: int = Field(default=6, ge=1)
    accumulate: int = Field(default=20, ge=1)
    bfloat16: bool = True
    freeze_layers: int = Field(default=0, ge=0)
    lora: LoraConfig | None = None
    development_share: float = Field(default=0.05, gt=0, lt=1)
    development_records: int = Field(default=200, ge=1)
    test_share: Part = 0.1
    evaluate_every: int = Field(default=100, ge=1)
    save_every: int = Field(default=0, ge=0)
    log_every: int = Field(default=10, ge=1)
    keep_best: bool = True
    device: Literal["auto", "cpu"] = "auto"
    threads: int = Field(default=0, ge=0)
    generation: dict[str, Any] = Field(default_factory=dict)
    seed: Seed = 42

    @model_validator(mode="after")
    def _leaves_some_to_train_on(self) -> Self:
        if self.development_share + self.test_share >= 1:
            raise ConfigurationError(
                f"development_share {self.development_share} and test_share {self.test_share}: something must be left "
                "to train on"
            )
        return self

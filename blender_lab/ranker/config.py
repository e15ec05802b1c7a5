"""Settings of a ranker's training: one file says everything about a run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from blender_core.errors import ConfigurationError
from blender_core.rank.answer_features import FEATURES
from blender_lab.ranker.corruption import CORRUPTIONS
from blender_lab.training.settings import Names, Part, RunSettings, Seed, Settings, Share, as_tuple
from blender_lab.training.sources import SourceConfig

__all__ = ["SMALLEST_WINDOW", "CombinationConfig", "RankerTrainingConfig", "Stage", "TeacherConfig"]

SMALLEST_WINDOW = 8
"""Fewer tokens hold no prompt with an answer."""


class TeacherConfig(Settings):
    """A bigger ranker to learn from, in addition to the labels.

    Attributes:
        ranker: A ranker's name, a checkpoint's folder or hub name. It is asked once for every record, and its logits
            are kept in the output folder. ``""`` takes the logits that the records hold (field ``teacher``).
        weight: Share of the loss that comes from the teacher, in [0, 1].
        temperature: Divides the teacher's logits; above 1 softens them.
        sources: Names of the sources that the teacher is asked for; empty: all. The others learn from labels alone.
    """

    ranker: str = ""
    weight: Share = 0.5
    temperature: float = Field(default=1.0, gt=0)
    sources: Names = ()


class CombinationConfig(Settings):
    """How ``export`` fits what combines the features of the form ``"one_pass"``.

    Attributes:
        weights: Weight by source; 1 for a source that is left out, 0 leaves it out of the fit. A source with the share
            0 is not trained on, but can be fitted with.
        texts: Most answers measured of a source.
        hidden: Units of the hidden layer. 0 fits a weighted sum of the encoder's score and of agreement alone; the
            keys below do not count then.
        decay: AdamW's decay.
        start: Weights of the sum that the network corrects, by feature; by default they are fitted first.
        penalty: Of the squared correction of a logit, for each other candidate in the group.
        epochs: Passes over the pairs.
        fits: Fits with other groups, of which the mean is taken.
        without: Features that are not used.
    """

    weights: dict[str, float] = Field(default_factory=dict)
    texts: int = Field(default=1200, ge=10)
    hidden: int = Field(default=0, ge=0)
    decay: float = Field(default=1.0, ge=0)
    start: dict[str, float] = Field(default_factory=dict)
    penalty: float = Field(default=0.02, ge=0)
    epochs: int = Field(default=25, ge=1)
    fits: int = Field(default=1, ge=1)
    without: Names = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        for key, names in (("without", self.without), ("start", self.start)):
            strange = sorted(set(names) - set(FEATURES))
            if strange:
                raise ConfigurationError(
                    f"combination.{key} names {', '.join(strange)}; choose from {', '.join(FEATURES)}"
                )
        return self


class Stage(Settings):
    """A part of the run with its own window.

    Attributes:
        max_tokens: Window in tokens, special tokens included.
        until: Progress in (0, 1] at which the stage ends.
    """

    max_tokens: int = Field(ge=SMALLEST_WINDOW)
    until: float = Field(default=1.0, gt=0, le=1)


class RankerTrainingConfig(RunSettings):
    """Settings of one training run of a ranker.

    Attributes:
        output: Folder for checkpoints, the log and the token cache.
        encoder: What to start from. ``"embedded"`` is the ranker that ships with the package. A folder may be an
            exported ranker, or an encoder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``; so may
            a hub name. The form ``"pair"`` also takes a PairRanker checkpoint.
        sources: Where the records come from, by name.
        form: ``"one_pass"``: one pass scores one candidate (the embedded ranker). ``"pair"``: one pass compares two
            (the paper's PairRanker).
        stages: Windows, in order of progress.
        steps: Optimiser steps.
        minutes: Time limit; the schedule follows steps or minutes, whichever is further. 0 for none.
        records_per_step: Prompts drawn for one step.
        learning_rate: Peak rate of the encoder.
        head_learning_rate: Peak rate of the head.
        weight_decay: AdamW's decay.
        warmup: Share of progress with a rising rate; after it the rate falls linearly to 0.
        dropout: Dropout on the pooled features; the encoder has none.
        freeze_embeddings: Leave the encoder's embeddings as they are.
        freeze_layers: Leave this many of the encoder's lowest layers as they are.
        initial: Checkpoint of an earlier run with the same network to start from; empty for the encoder's own weights.
        start_share: Share in [0, 1) of the weights that the run began with, in what ``export`` writes: keeps more of
            what they knew (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). For a one-pass run that
            starts from a ranker or from ``initial``. Set it before the run begins, which then keeps ``start.pt``.
        head_size: Width of the head's hidden layer.
        pooling: What a new head of the form ``"pair"`` reads of each text. ``"markers"``: the state at the text's
            marker, as published. ``"segments"``: the mean state of its tokens, which suits small sentence encoders.
        loss: ``"logistic"`` on the margin with soft labels (Bradley-Terry). ``"instructgpt"``: the same with the sign
            of the label only (Ouyang et al. 2022; the published PairRM). ``"bce"``: cross-entropy of each side's own
            score (LLM-Blender, section 3.2). ``"mse"``: squared error of each side's own score.
        ties: ``"pull"``: a tie draws the two scores together. ``"drop"``: ties are left out, as in PairRM's training.
        pairs_per_record: Most pairs drawn for one prompt; 0 for all of the group's.
        prompt_share: For the form ``"pair"``: share of the window for the prompt if all three texts are too long.
        corruption: Probability that one worsened answer joins a group.
        corruptions: Ways in which it is worsened, out of ``change_numbers``, ``contradict``, ``drop_end``,
            ``repeat_part``, ``shuffle_parts``; empty for all. Off-topic answers and refusals are added to them.
        off_topic_draws: An off-topic answer answers the prompt that is most like the real one among this many.
        length_balance: 0 takes pairs as they come. 1 weights them so that, within a source, the longer and the shorter
            candidate win equally often.
        teacher: A bigger ranker to learn from, in addition to the labels.
        combination: How ``export`` fits what combines the features.
        development_share: Share of prompts held out.
        development_records: Held-out records a source that are judged while training.
        evaluate_every: Steps between two such judgements.
        save_every: Steps between two checkpoints. 0 saves as often as possible while spending at most 10% of the time
            on it.
        tokens_per_batch: Padded tokens in one forward pass.
        accumulation: Backward passes for one step: its prompts are split into so many parts. The result is the same,
            the memory less.
        precision: Of the forward pass: ``"float32"``, ``"bfloat16"``, ``"float16"`` (with loss scaling). ``"auto"``
            is bfloat16, or float32 on a CPU without instructions for it, which is faster there.
        device: ``"auto"`` (a GPU if there is one) or a torch device.
        threads: Torch threads.
        seed: Seed of everything random.
        keep: Which checkpoint is exported: the ``"last"``, or the ``"best"`` on held-out prompts.
        tensorboard: Write TensorBoard's event files in addition to ``log.csv``.

    Examples:
        >>> config = RankerTrainingConfig.from_dict({"encoder": "e", "output": "o",
        ...     "sources": {"mine": {"file": "mine.jsonl"}}, "stages": [{"max_tokens": 128}]})
        >>> config.stages[0].max_tokens, config.sources["mine"].group
        (128, 5)
    """

    encoder: str
    sources: dict[str, SourceConfig] = Field(min_length=1)
    form: Literal["one_pass", "pair"] = "one_pass"
    stages: Annotated[tuple[Stage, ...], BeforeValidator(as_tuple)] = (Stage(max_tokens=256),)
    steps: int = Field(default=1000, ge=1)
    minutes: float = Field(default=0.0, ge=0)
    records_per_step: int = Field(default=6, ge=1)
    learning_rate: float = Field(default=1e-4, ge=0)
    head_learning_rate: float = Field(default=5e-4, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: Part = 0.05
    dropout: Part = 0.1
    freeze_embeddings: bool = True
    freeze_layers: int = Field(default=0, ge=0)
    initial: str = ""
    start_share: Part = 0.0
    head_size: int = Field(default=384, ge=1)
    pooling: Literal["markers", "segments"] = "markers"
    loss: Literal["bce", "instructgpt", "logistic", "mse"] = "logistic"
    ties: Literal["drop", "pull"] = "pull"
    pairs_per_record: int = Field(default=0, ge=0)
    prompt_share: float = Field(default=0.5, gt=0, lt=1)
    corruption: Share = 0.5
    corruptions: Names = ()
    off_topic_draws: int = Field(default=1, ge=1)
    length_balance: Share = 0.5
    teacher: TeacherConfig | None = None
    combination: CombinationConfig = CombinationConfig()
    development_share: Part = 0.08
    development_records: int = Field(default=30, ge=0)
    evaluate_every: int = Field(default=200, ge=1)
    save_every: int = Field(default=0, ge=0)
    tokens_per_batch: int = Field(default=4096, ge=1)
    accumulation: int = Field(default=1, ge=1)
    precision: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    device: str = "auto"
    threads: int = Field(default=1, ge=1)
    seed: Seed = 0
    keep: Literal["best", "last"] = "last"
    tensorboard: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        unknown = set(self.teacher.sources) - set(self.sources) if self.teacher is not None else set()
        if unknown:
            raise ConfigurationError(
                f"teacher.sources names {', '.join(sorted(unknown))}; the run's sources are {', '.join(self.sources)}"
            )
        strange_sources = sorted(set(self.combination.weights) - set(self.sources))
        if strange_sources:
            raise ConfigurationError(
                f"combination.weights names {', '.join(strange_sources)}; "
                f"the run's sources are {', '.join(self.sources)}"
            )
        if not self.stages or self.stages[-1].until < 1.0:
            raise ConfigurationError(f"stages {self.stages!r}: the last one must have until = 1.0")
        strange = set(self.corruptions) - set(CORRUPTIONS)
        if strange:
            raise ConfigurationError(
                f"corruptions names {', '.join(sorted(strange))}; choose from {', '.join(sorted(CORRUPTIONS))}"
            )
        if self.start_share and self.form == "pair":
            raise ConfigurationError(
                f"start_share is {self.start_share} in a run of the form 'pair'; it is for the form 'one_pass'"
            )
        return self

    @property
    def largest_window(self) -> int:
        """The largest window of the run, in tokens."""
        return max(stage.max_tokens for stage in self.stages)

    def window(self, progress: float) -> int:
        """Window in tokens at a progress in [0, 1]."""
        return next((stage for stage in self.stages if progress < stage.until), self.stages[-1]).max_tokens

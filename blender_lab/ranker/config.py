"""One file says everything about a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.rank.pairrm.settings import POOLINGS
from blender_lab.ranker.corruption import CORRUPTIONS
from blender_lab.training.settings import (
    LARGEST_SEED,
    PART,
    SHARE,
    Range,
    above,
    at_least,
    built,
    check_settings,
    read_settings,
)

__all__ = [
    "FORMATS",
    "SMALLEST_WINDOW",
    "RankerTrainingConfig",
    "SourceConfig",
    "Stage",
    "TeacherConfig",
]

FORMATS = ("chosen_rejected", "mixinstruct", "pair", "preference")
"""Formats of records that can be read."""

_CHOICES = {
    "form": ("one_pass", "pair"),
    "loss": ("bce", "instructgpt", "logistic", "mse"),
    "ties": ("drop", "pull"),
    "pooling": POOLINGS,
    "pair_sampling": ("all_pair", "random", "top_bottom", "uniform"),
    "swap": ("both", "none", "random"),
    "length_balance_by": ("draw", "weight"),
    "precision": ("", "bfloat16", "float16", "float32"),
    "keep": ("best", "last"),
}

_RANGES = {
    **dict.fromkeys(("steps", "records_per_step", "accumulation", "evaluate_every", "off_topic_draws"), at_least(1)),
    **dict.fromkeys(("head_size", "tokens_per_batch", "threads"), at_least(1)),
    **dict.fromkeys(("learning_rate", "head_learning_rate", "weight_decay", "minutes"), at_least(0)),
    **dict.fromkeys(("freeze_layers", "development_records", "save_every", "pairs_per_record"), at_least(0)),
    **dict.fromkeys(("warmup", "dropout", "start_share", "development_share"), PART),
    **dict.fromkeys(("off_topic_longest", "corruption", "length_balance"), SHARE),
    "prompt_share": Range(0, 1, with_low=False, with_high=False),
    "seed": Range(0, LARGEST_SEED),
}

SMALLEST_WINDOW = 8
"""Fewer tokens hold no prompt with an answer."""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One source of preference records: a file, or a data set of the Hugging Face hub.

    Attributes:
        file: File below the data folder, for example ``"train/arena_bench.jsonl.gz"``; JSON lines, plain or gzip,
            or what ``datasets`` reads: ``.parquet``, ``.csv``, ``.json``.
        dataset: In place of ``file``: a data set's name on the hub, or a folder below the data folder: of files, or
            what ``Dataset.save_to_disk`` wrote. Needs the ``train`` extra.
        subset: Configuration of the data set, ``""`` for its default.
        split: Its split.
        format: ``"preference"`` (the project's own), ``"mixinstruct"``, ``"chosen_rejected"`` (prompt, chosen,
            rejected) or ``"pair"`` (prompt, two answers, label); see ``docs/training.md``.
        columns: Field of the format -> column of the data, where they differ.
        metric: For ``"mixinstruct"``: the score that orders candidates which nobody compared.
        share: Weight of the source when prompts are drawn.
        only: Keep only records with one of these ``source`` values; empty for all.
        records: Most training records, chosen by their prompts' hash, so that a smaller number's are among a larger
            number's; 0 for all. For learning curves; held-out records stay the same.
        group: Candidates drawn for one prompt.
        by_model: The labels depend on the models alone: fit one strength per model and order by it.
        slope: Log-odds for one step of a graded score; right for 1 to 10. The larger, the harder the labels.
        smallest_gap: Scores that differ by less than this are no pair.
        refusals: A refusal may serve as a bad answer (not where prompts should be refused).
    """

    file: str = ""
    share: float = 1.0
    only: tuple[str, ...] = ()
    group: int = 5
    by_model: bool = False
    refusals: bool = False
    dataset: str = ""
    subset: str = ""
    split: str = "train"
    format: str = "preference"
    columns: dict[str, str] = field(default_factory=dict)
    metric: str = "bartscore"
    slope: float = 0.7
    smallest_gap: float = 0.0
    records: int = 0

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "format": FORMATS,
                "group": at_least(2),
                "slope": above(0),
                **dict.fromkeys(("share", "smallest_gap", "records"), at_least(0)),
            },
        )
        if bool(self.file) == bool(self.dataset):
            raise ConfigurationError(
                f"a source has file {self.file!r} and dataset {self.dataset!r}; give exactly one of them"
            )


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """A bigger ranker whose logits are learned besides the labels.

    Attributes:
        ranker: A ranker's name, a checkpoint's folder or hub name, asked once for every record; its logits are kept
            in the output folder. ``""`` takes the logits that the records hold (field ``teacher``).
        weight: Share of the loss that comes from the teacher, in [0, 1].
        temperature: Divides the teacher's logits; above 1 softens them.
        sources: Names of the sources that the teacher is asked for; empty: all. The others learn from labels alone.
    """

    ranker: str = ""
    weight: float = 0.5
    temperature: float = 1.0
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, {"weight": SHARE, "temperature": above(0)})


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run with its own window.

    Attributes:
        max_tokens: Window in tokens, special tokens included.
        until: Progress in (0, 1] at which the stage ends.
    """

    max_tokens: int
    until: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self, {"max_tokens": at_least(SMALLEST_WINDOW), "until": Range(0, 1, with_low=False)})


@dataclass(frozen=True, slots=True)
class RankerTrainingConfig:
    """Settings of one training run of a ranker.

    Attributes:
        encoder: Folder or hub name of an encoder with ``config.json``, ``model.safetensors`` and
            ``tokenizer.json``. To go on from a ranker: ``"embedded"`` for the one that ships with the package, or the
            folder of an exported one; for the form ``"pair"`` a PairRanker checkpoint.
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
        freeze_layers: Leave this many of the encoder's lowest layers as they are. Half of MiniLM-L6 frozen made a step
            twice as fast.
        initial: Checkpoint of an earlier run with the same network, to start from; empty for the encoder's own weights.
        average: Checkpoints of other runs that began with the same weights; ``export`` takes the mean of their weights
            and this run's (Wortsman et al. 2022, "Model soups").
        start_share: Share in [0, 1) of the weights that the run began with, in what ``export`` writes: keeps more of
            what they knew (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). For a one-pass run that
            goes on from a ranker or from ``initial``; set it before the run begins, which then keeps ``start.pt``.
        average_rankers: Exported rankers (folders, or ``"embedded"``) from the same encoder; ``export`` takes the mean
            of their weights and what it would write without them. For the form ``"one_pass"``.
        off_topic_draws: An off-topic answer answers the prompt that is most like the real one among this many.
        off_topic_longest: Probability that it is the longest answer to that prompt, so that off-topic does not go with
            short.
        head_size: Width of the head's hidden layer.
        corruption: Probability that one worsened answer joins a group.
        corruptions: Names of the ways in which it is worsened, out of ``change_numbers``, ``contradict``, ``drop_end``,
            ``repeat_part``, ``shuffle_parts``; empty for all. Off-topic answers and refusals come besides.
        length_balance: 0 takes pairs as they come; 1 weights them so that, within a source, the longer and
            the shorter candidate win equally often.
        development_share: Share of prompts held out.
        development_records: Held-out records a source that are judged while training.
        evaluate_every: Steps between two such judgements.
        save_every: Steps between two checkpoints; 0: as often as saving takes at most a tenth of the time, so that a
            killed run loses the step in flight, or ten times what a save takes and one step where saving is dear.
        tokens_per_batch: Padded tokens in one forward pass.
        threads: Torch threads.
        bfloat16: Mixed precision in bfloat16, on a CPU too if it has instructions for it (without them float32 is
            faster, and taken); ``precision`` goes before it.
        seed: Seed of everything random.
        notes: Free text.
        form: ``"one_pass"``: one pass scores one candidate (the embedded ranker); ``"pair"``: one pass compares two
            (the paper's PairRanker).
        pooling: For the form ``"pair"`` on a plain encoder, what its new head reads of each text: ``"markers"``: the
            state at the text's marker, as published; ``"segments"``: the mean state of its tokens, which small sentence
            encoders learn from at once.
        loss: ``"logistic"`` on the margin with soft labels (Bradley-Terry); ``"instructgpt"``: the same with the
            sign of the label only (Ouyang et al. 2022; the published PairRM); ``"bce"``: cross-entropy of each
            side's own score (LLM-Blender, section 3.2); ``"mse"``: squared error of each side's own score.
        ties: ``"pull"``: a tie draws the two scores together; ``"drop"``: ties are left out (in the reference's
            ``instructgpt`` a tie gives a constant, so no gradient).
        soft_labels: ``False`` makes every label 0, 1 or a tie.
        pair_sampling: Which pairs of a record are drawn: ``"all_pair"``, ``"random"``, ``"top_bottom"``,
            ``"uniform"``; see ``blender_lab.ranker.sampling``.
        pairs_per_record: Most pairs drawn for one prompt; 0 for all of the group's.
        swap: Order in which a pair is read by the form ``"pair"``: ``"random"``, ``"both"`` (twice the work) or
            ``"none"`` (as stored).
        length_balance_by: ``"weight"``: ``length_balance`` weights pairs; ``"draw"``: it decides how often they are
            drawn, which needs ``pairs_per_record``.
        teacher: A bigger ranker to learn from besides the labels.
        accumulation: Backward passes for one step: the step's prompts are split into so many parts. The result is
            the same, the memory less.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"`` (with loss scaling); ``""`` leaves it to
            ``bfloat16``.
        device: ``"auto"`` (a GPU where there is one) or a torch device.
        prompt_share: For the form ``"pair"``: share of the window for the prompt where all three texts are too long.
        keep: What is exported: the ``"last"`` checkpoint, or the ``"best"`` on held-out prompts.
        tensorboard: Write TensorBoard's event files besides ``log.csv``.
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
    freeze_layers: int = 0
    initial: str = ""
    average: tuple[str, ...] = ()
    start_share: float = 0.0
    average_rankers: tuple[str, ...] = ()
    off_topic_draws: int = 1
    off_topic_longest: float = 0.0
    head_size: int = 384
    corruption: float = 0.5
    corruptions: tuple[str, ...] = ()
    length_balance: float = 0.5
    development_share: float = 0.08
    development_records: int = 30
    evaluate_every: int = 200
    save_every: int = 0
    tokens_per_batch: int = 4096
    threads: int = 1
    bfloat16: bool = True
    seed: int = 0
    notes: str = field(default="")
    form: str = "one_pass"
    pooling: str = "markers"
    loss: str = "logistic"
    ties: str = "pull"
    soft_labels: bool = True
    pair_sampling: str = "all_pair"
    pairs_per_record: int = 0
    swap: str = "random"
    length_balance_by: str = "weight"
    teacher: TeacherConfig | None = None
    accumulation: int = 1
    precision: str = ""
    device: str = "auto"
    prompt_share: float = 0.5
    keep: str = "last"
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {**_CHOICES, **_RANGES})
        if not self.sources:
            raise ConfigurationError("no sources; give at least one")
        unknown = set(self.teacher.sources) - set(self.sources) if self.teacher is not None else set()
        if unknown:
            raise ConfigurationError(
                f"teacher.sources names {', '.join(sorted(unknown))}; the run's sources are {', '.join(self.sources)}"
            )
        if self.length_balance_by == "draw" and not self.pairs_per_record:
            raise ConfigurationError("length_balance_by = 'draw' needs pairs_per_record above 0, else all are drawn")
        if not self.stages or self.stages[-1].until < 1.0:
            raise ConfigurationError(f"stages {self.stages!r}: the last one must have until = 1.0")
        strange = set(self.corruptions) - set(CORRUPTIONS)
        if strange:
            raise ConfigurationError(
                f"corruptions names {', '.join(sorted(strange))}; choose from {', '.join(sorted(CORRUPTIONS))}"
            )
        for name in ("start_share", "average_rankers"):
            value = getattr(self, name)
            if value and self.form == "pair":
                raise ConfigurationError(
                    f"{name} is {value} in a run of the form 'pair'; it is for the form 'one_pass'"
                )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RankerTrainingConfig:
        """Build from plain types.

        Raises:
            ConfigurationError: A setting is unknown, missing or cannot be used.

        Examples:
            >>> config = RankerTrainingConfig.from_dict({"encoder": "e", "output": "o",
            ...     "sources": {"mine": {"file": "mine.jsonl"}}, "stages": [{"max_tokens": 128}]})
            >>> config.stages[0].max_tokens, config.sources["mine"].group
            (128, 5)
        """
        return built(cls, data)

    @classmethod
    def load(cls, path: str | Path) -> RankerTrainingConfig:
        """Read a TOML or JSON file.

        Raises:
            ConfigurationError: The file is missing, or holds no usable settings.
        """
        return cls.from_dict(read_settings(path))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain types; :meth:`from_dict` reads them back."""
        return dataclasses.asdict(self)

    @property
    def largest_window(self) -> int:
        """The largest window of the run, in tokens."""
        return max(stage.max_tokens for stage in self.stages)

    def window(self, progress: float) -> int:
        """Window in tokens at a progress in [0, 1]."""
        return next((stage for stage in self.stages if progress < stage.until), self.stages[-1]).max_tokens

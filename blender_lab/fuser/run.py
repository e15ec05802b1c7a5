"""Training a fuser from a configuration and a data folder, by transformers' ``Trainer``."""

from __future__ import annotations

import inspect
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.rank.registry import resolve_ranker
from blender_core.runtime.extras import require
from blender_core.runtime.outside import read_json
from blender_lab.data_folder import data_file
from blender_lab.fuser.config import FuserTrainingConfig
from blender_lab.fuser.examples import (
    FusionExamples,
    FusionRecord,
    Split,
    rank_records,
    read_fusion_records,
    split_records,
)
from blender_lab.fuser.trainer import last_checkpoint, read_log, read_seconds, rewind_log
from blender_lab.training.settings import check_resumable, keep_settings

__all__ = ["FuserTrainingResult", "fusion_splits", "train_fuser"]

# may change when a run is resumed
_FREE_SETTINGS = ("output", "minutes", "threads", "device", "log_every", "save_every")
_MODEL_FOLDER = "model"
_RESULT_FILE = "result.json"
_NEVER = 1_000_000_000


@dataclass(frozen=True, slots=True)
class FuserTrainingResult:
    """How a run ended.

    Attributes:
        model: The finished folder; `GenFuser.from_pretrained` loads it.
        log: The CSV log.
        steps: Optimizer steps, those before a resume included.
        epochs: Passes over the training records.
        seconds: Time spent, that before a resume included.
        records: Training records.
        loss: Mean training loss over the last lines of the log, nats a token.
        development_loss: Held-out loss of the finished model, nats a token.
        best_step: Step of the checkpoint that the finished model is.
    """

    model: str
    log: str
    steps: int
    epochs: float
    seconds: float
    records: int
    loss: float
    development_loss: float
    best_step: int


def fusion_splits(config: FuserTrainingConfig, data: str | Path | None = None) -> dict[Split, list[FusionRecord]]:
    """The records of a run by split.

    Args:
        config: Settings.
        data: The data folder; ``None`` for ``BLENDER_DATA``.

    Returns:
        Training, development and test records.

    Raises:
        ConfigurationError: A file is missing, unreadable or of no use.
    """
    records = [record for file in config.files for record in read_fusion_records(data_file(file, data))]
    return split_records(
        records, development_share=config.development_share, test_share=config.test_share, seed=config.seed
    )


def train_fuser(
    config: FuserTrainingConfig,
    *,
    data: str | Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    report: Callable[[str], None] | None = None,
) -> FuserTrainingResult:
    """Train a fuser, or resume a run that was stopped.

    The published recipe (LLM-Blender, Jiang et al. 2023, section 4 and the released scripts) is the default of the
    settings: top-3 candidates in shuffled order, cross entropy of the reference, best held-out loss.

    Args:
        config: Settings; ``config.output`` receives checkpoints, ``log.csv``, ``rankings.jsonl`` and ``model/``.
        data: The data folder; ``None`` for ``BLENDER_DATA``.
        clock: Seconds, monotonic.
        report: Takes a line of text now and then.

    Returns:
        How the run ended. A run that is done is not trained again.

    Raises:
        CheckpointError: The model or a checkpoint cannot be used.
        ConfigurationError: A data file is missing, a split is empty, the optimizer is unknown, or the folder holds
            another run.
        MissingExtraError: torch, transformers, accelerate or peft is not installed.
    """
    for module in ("torch", "transformers", "accelerate"):
        require(module, feature="training a fuser", extra="train")
    say = report or (lambda line: None)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    _check_optimizer(config.optimizer)
    if last_checkpoint(output) is not None or (output / _RESULT_FILE).is_file():
        check_resumable(config, _FREE_SETTINGS)
    keep_settings(config)
    if (output / _RESULT_FILE).is_file():
        return FuserTrainingResult(**read_json((output / _RESULT_FILE).read_text(encoding="utf-8")))
    splits = fusion_splits(config, data)
    for side in ("train", "development"):
        if not splits[side]:
            raise ConfigurationError(f"no {side} records among {config.files}; change the shares or give more data")
    splits["development"] = splits["development"][: config.development_records]
    examples = _examples(config, splits, output, say)
    result = _run(config, examples, output, clock, say)
    (output / _RESULT_FILE).write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    return result


def _check_optimizer(name: str) -> None:
    from transformers.training_args import OptimizerNames

    known = [one.value for one in OptimizerNames]
    if name not in known:
        raise ConfigurationError(f"optimizer is {name!r}; choose one of {', '.join(known)}")


def _examples(
    config: FuserTrainingConfig, splits: dict[Split, list[FusionRecord]], output: Path, say: Callable[[str], None]
) -> dict[Split, FusionExamples]:
    ranker = resolve_ranker(config.ranker)
    made: dict[Split, FusionExamples] = {}
    for side in ("train", "development"):
        records = splits[side]
        say(f"{len(records)} {side} records")
        orders = rank_records(records, ranker, cache=output / "rankings.jsonl")
        made[side] = FusionExamples(
            records,
            orders,
            top_k=config.top_k,
            shuffle=config.shuffle,
            cut_repeats=config.cut_repeats,
            seed=config.seed,
        )
    return made


def _run(
    config: FuserTrainingConfig,
    examples: dict[Split, FusionExamples],
    output: Path,
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> FuserTrainingResult:
    import torch
    import transformers

    from blender_lab.fuser.base_model import load_base_model
    from blender_lab.fuser.encoding import EncodedExamples, collate_causal, collate_seq2seq
    from blender_lab.fuser.trainer import RunCallback, ScheduledTrainer

    if config.threads:
        torch.set_num_threads(config.threads)
    # adapters are drawn at random
    transformers.set_seed(config.seed)
    say(f"loading {config.model}")
    base = load_base_model(config)
    collate = (
        partial(collate_seq2seq, pad=base.pad)
        if base.encoder_decoder
        else partial(collate_causal, pad=base.pad, keep_logits=_keeps_logits(base.model))
    )
    checkpoint = last_checkpoint(output)
    begun = max(rewind_log(output / "log.csv", _step_of(checkpoint)), read_seconds(checkpoint))
    callback = RunCallback(config, output / "log.csv", clock=clock, spent=begun, say=say)
    trainer = ScheduledTrainer(
        model=base.model,
        args=_arguments(config, output),
        data_collator=collate,
        train_dataset=EncodedExamples(examples["train"], base.encoder),
        eval_dataset=EncodedExamples(examples["development"], base.encoder),
        callbacks=[callback],
        rate=callback.rate,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.remove_callback(transformers.ProgressCallback)
    say(f"training, from step {_step_of(checkpoint)}")
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except Exception as error:  # torch, pickle and safetensors raise many kinds over a broken file
        if checkpoint is None or trainer.state.global_step > _step_of(checkpoint):
            raise
        raise CheckpointError(
            f"the run cannot be resumed from {checkpoint}: {type(error).__name__}: {error}; remove that folder to "
            "resume from the one before it"
        ) from error
    state = trainer.state
    base.save(output / _MODEL_FOLDER, config)
    losses = [float(row["loss"]) for row in read_log(output / "log.csv") if row["loss"]]
    held_out = {int(row["step"]): float(row["development_loss"]) for row in _evaluations(output / "log.csv")}
    best = state.best_global_step if config.keep_best and state.best_global_step else state.global_step
    return FuserTrainingResult(
        model=str(output / _MODEL_FOLDER),
        log=str(output / "log.csv"),
        steps=state.global_step,
        epochs=round(float(state.epoch or 0.0), 4),
        seconds=round(callback.seconds(), 1),
        records=len(examples["train"]),
        loss=sum(losses[-5:]) / len(losses[-5:]) if losses else math.nan,
        development_loss=held_out.get(best, math.nan),
        best_step=best,
    )


def _arguments(config: FuserTrainingConfig, output: Path) -> Any:
    from transformers import TrainingArguments

    from blender_core.models.devices import resolve_device
    from blender_lab.training.precision import bfloat16_pays

    return TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        optim=config.optimizer,
        bf16=config.bfloat16 and bfloat16_pays(resolve_device(config.device)),
        use_cpu=config.device == "cpu",
        logging_steps=config.log_every,
        eval_strategy="steps",
        eval_steps=config.evaluate_every,
        save_strategy="steps",
        # the callback asks for those in between; the best one can only be kept where it was saved
        save_steps=config.evaluate_every if config.keep_best else _NEVER,
        # the best one and the last one
        save_total_limit=2,
        load_best_model_at_end=config.keep_best,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
        seed=config.seed,
        data_seed=config.seed,
    )


def _keeps_logits(model: Any) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


def _step_of(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.name.removeprefix("checkpoint-"))


def _evaluations(log: Path) -> list[dict[str, str]]:
    return [row for row in read_log(log) if row["development_loss"]]

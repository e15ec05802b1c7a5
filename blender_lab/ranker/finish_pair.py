"""The last steps of a run of the pair form: write the checkpoint, fit temperature and position bias, measure it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from blender_core.errors import CheckpointError
from blender_core.rank.calibration import calibration_error, fit_temperature
from blender_core.rank.pair_ranker import PairRanker
from blender_core.rank.pairrm.scorer import PairScorer
from blender_lab.ranker.checkpoint import load_average
from blender_lab.ranker.config import RankerTrainingConfig, Stage
from blender_lab.ranker.development import HeldOut, PairLogit, held_out_groups, pair_logits
from blender_lab.ranker.joint import JointForm, pair_lengths
from blender_lab.ranker.packing import pack_texts
from blender_lab.ranker.train import build_form, data_folder, source_records, source_targets

__all__ = ["chosen_checkpoint", "finish_pair_ranker"]


def chosen_checkpoint(config: RankerTrainingConfig) -> Path:
    """The file that ``config.keep`` names.

    Raises:
        CheckpointError: The run has not written it.
    """
    path = Path(config.output) / ("best.pt" if config.keep == "best" else "checkpoint.pt")
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}; train first, with the same configuration")
    return path


def finish_pair_ranker(
    config: RankerTrainingConfig,
    folder: str | Path,
    *,
    data: str | Path | None = None,
    max_tokens: int | None = None,
    records: int = 60,
) -> dict[str, Any]:
    """Turn the checkpoint of a run into a folder that ``PairRanker.from_pretrained`` loads.

    Args:
        config: Settings of the run.
        folder: Where to write.
        data: The data folder; ``None`` for ``BLENDER_DATA``, else ``../shared/data``.
        max_tokens: Window of a pair in tokens; ``None`` for the largest of the run.
        records: Most held-out records a source.

    Returns:
        The fitted ``temperature`` and ``position_bias``, and the numbers on held-out training prompts, by source:
        ``accuracy`` of the symmetrised logit, ``one_order_accuracy`` of a single pass, ``consistency`` (same verdict
        in both orders), ``position_bias`` (mean logit in favour of the left side) and ``calibration_error`` after the
        temperature. Also written to ``development.json`` in the run's output.

    Raises:
        CheckpointError: The checkpoint does not fit the settings.
        ConfigurationError: ``max_tokens`` is too small, or more than the encoder reads.
    """
    if max_tokens is not None:
        # the form refuses a window that does not fit
        config = dataclasses.replace(config, stages=(Stage(max_tokens),))
    form, texts = build_form(config)
    assert isinstance(form, JointForm)
    load_average([chosen_checkpoint(config), *config.average], form.module)
    form.module.eval()
    window = config.largest_window
    measured: dict[str, list[PairLogit]] = {}
    for name, source in config.sources.items():
        held_out = source_records(config, source, data_folder(data))[1][:records]
        groups = held_out_groups(
            HeldOut(pack_texts(held_out, texts.encode_batch), source_targets(source, held_out)), most_pairs=12
        )
        measured[name] = pair_logits(form, groups, window)
    temperature, position_bias = _temperature(measured), _position_bias(measured)
    source_length, candidate_length = pair_lengths(window, config.prompt_share)
    ranker = PairRanker(
        PairScorer(form.model, form.tokenizer.pad_id),
        form.tokenizer,
        source_max_length=source_length,
        candidate_max_length=candidate_length,
        temperature=temperature,
        position_bias=position_bias,
    )
    ranker.save_pretrained(Path(folder))
    report = {
        "temperature": temperature,
        "position_bias": position_bias,
        "sources": {name: _numbers(logits, temperature, position_bias) for name, logits in measured.items() if logits},
    }
    (Path(config.output) / "development.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _temperature(measured: dict[str, list[PairLogit]]) -> float:
    """The temperature with the least cross-entropy on the labels, every source weighing the same."""
    pairs = [(pair.logit, pair.target, 1.0 / len(own)) for own in measured.values() for pair in own]
    logits, targets, weights = zip(*pairs, strict=True) if pairs else ((), (), ())
    return round(fit_temperature(logits, targets, weights), 4)


def _position_bias(measured: dict[str, list[PairLogit]]) -> float:
    """The mean logit in favour of the left side, every source weighing the same."""
    own = [np.mean([(pair.forward - pair.backward) / 2 for pair in logits]) for logits in measured.values() if logits]
    return round(float(np.mean(own)), 4) if own else 0.0


def _numbers(logits: list[PairLogit], temperature: float, position_bias: float) -> dict[str, float]:
    forward = np.array([pair.forward for pair in logits])
    backward = np.array([pair.backward for pair in logits])
    target = np.array([pair.target for pair in logits])
    both, better = (forward + backward) / 2, target > 0.5
    probability = 1.0 / (1.0 + np.exp(-np.clip(both / temperature, -60.0, 60.0)))
    return {
        "pairs": float(len(logits)),
        "accuracy": float(((both > 0) == better).mean()),
        # as the ranker does where it runs one order: the bias that is stored is taken off
        "one_order_accuracy": float(
            (((forward > position_bias) == better).mean() + ((backward > -position_bias) == better).mean()) / 2
        ),
        "consistency": float(((forward > 0) == (backward > 0)).mean()),
        # the first stands on the left in one order and on the right in the other
        "position_bias": float((forward - backward).mean() / 2),
        "calibration_error": calibration_error(probability, target),
    }

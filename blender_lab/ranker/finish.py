"""The last steps of a run: export, fit the combination on held-out prompts, check int8 against float32.

A run of the form ``"pair"`` ends in ``finish_pair``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blender_core.data.preferences import PreferenceRecord
from blender_core.errors import ConfigurationError
from blender_core.rank.calibration import calibration_error
from blender_core.rank.embedded import EmbeddedRanker
from blender_lab.ranker.checkpoint import START_FILE, load_average, mix_with_start
from blender_lab.ranker.combine import Combination, RecordFeatures, fit_combination, record_features
from blender_lab.ranker.config import SMALLEST_WINDOW, RankerTrainingConfig
from blender_lab.ranker.export import write_ranker, write_settings
from blender_lab.ranker.exported import average_with_rankers, encoder_folder, load_scorer
from blender_lab.ranker.finish_pair import chosen_checkpoint, finish_pair_ranker
from blender_lab.ranker.model import longest_row
from blender_lab.ranker.targets import PairTarget
from blender_lab.ranker.tokenizer import load_tokenizer, segment_layout
from blender_lab.ranker.train import data_folder, source_records, source_targets
from blender_lab.training.resume import check_resumable_ranker

__all__ = ["development_numbers", "finish_ranker"]

Measured = dict[str, list[RecordFeatures]]


def finish_ranker(
    config: RankerTrainingConfig,
    folder: str | Path,
    *,
    data: str | Path | None = None,
    max_tokens: int | None = None,
    records: int = 60,
) -> dict[str, Any]:
    """Turn the checkpoint of a run into the folder that a ranker is loaded from.

    ``EmbeddedRanker.load`` reads what the form ``"one_pass"`` gives, ``PairRanker.from_pretrained`` what the form
    ``"pair"`` gives.

    Args:
        config: Settings of the run.
        folder: Where to write.
        data: The data folder; ``None`` for ``BLENDER_DATA``, else ``../shared/data``.
        max_tokens: Window in tokens; ``None`` for the largest of the run.
        records: Most held-out records a source.

    Returns:
        The numbers on held-out training prompts; also written to ``development.json`` in the run's output.

    Raises:
        CheckpointError: The checkpoint does not fit the settings, or ``start_share`` is set for a run that began
            without it.
        ConfigurationError: The output holds a run with other settings, ``max_tokens`` is too small or more than the
            encoder reads, or there is no held-out record to fit with.
    """
    check_resumable_ranker(config)
    if records < 1:
        raise ConfigurationError(f"records is {records}; give at least 1")
    if config.form == "pair":
        return finish_pair_ranker(config, folder, data=data, max_tokens=max_tokens, records=records)
    folder = Path(folder)
    encoder = encoder_folder(config)
    tokenizer_file = encoder / "tokenizer.json"
    layout = segment_layout(load_tokenizer(tokenizer_file))
    window = config.largest_window if max_tokens is None else max_tokens
    model = load_scorer(encoder, config)
    longest = longest_row(model.encoder)
    if not SMALLEST_WINDOW <= window <= longest:
        raise ConfigurationError(f"max_tokens is {window}; give {SMALLEST_WINDOW} to {longest}, what the encoder reads")
    load_average([chosen_checkpoint(config), *config.average], model)
    if config.start_share:
        mix_with_start(model, Path(config.output) / START_FILE, config.start_share)
    average_with_rankers(model, config)
    known = _held_out(config, data, records)
    exact_file = write_ranker(model, tokenizer_file, layout, folder, max_tokens=window)
    int8 = EmbeddedRanker.load(folder)
    exact = _with_model(int8, exact_file)
    exact_file.unlink()

    measured: Measured = {}
    measured_exact: Measured = {}
    for name, held_out in known.items():
        for ranker, result in ((int8, measured), (exact, measured_exact)):
            features = [record_features(record, pairs, _score(ranker)) for record, pairs in held_out]
            result[name] = [item for item in features if item is not None]
    combination = fit_combination(measured)
    alone = fit_combination(measured, use_agreement=False)
    fitted = {
        "model_weight": round(combination.model_weight, 4),
        "overlap_weight": round(combination.overlap_weight, 4),
        "final_answer_weight": round(combination.final_answer_weight, 4),
        "temperature": round(combination.temperature, 4),
    }
    write_settings(folder, layout, max_tokens=window, settings=fitted)
    report = {
        "fitted": fitted,
        "combined": development_numbers(measured, combination),
        "model_alone": development_numbers(measured, alone),
        "int8_agrees": _agreement(measured, measured_exact, alone),
        "int8_agrees_combined": _agreement(measured, measured_exact, combination),
        "records": {name: len(items) for name, items in measured.items()},
    }
    (Path(config.output) / "development.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _held_out(
    config: RankerTrainingConfig, data: str | Path | None, records: int
) -> dict[str, list[tuple[PreferenceRecord, list[PairTarget]]]]:
    """Held-out records by source, each with its pairs of known order."""
    found = {}
    for name, source in config.sources.items():
        held_out = source_records(config, source, data_folder(data))[1][:records]
        found[name] = list(zip(held_out, source_targets(source, held_out), strict=True))
    if not any(pairs for own in found.values() for _, pairs in own):
        raise ConfigurationError(
            "the export fits with held-out records, and none has a pair with a known order; development_share is "
            f"{config.development_share}: give more data"
        )
    return found


def development_numbers(
    measured: Mapping[str, Sequence[RecordFeatures]], combination: Combination
) -> dict[str, dict[str, float]]:
    """Accuracy over decided pairs and calibration, by source.

    Args:
        measured: Measured records by source.
        combination: The weights to judge.

    Returns:
        By source ``pairs``, ``accuracy`` and ``calibration_error``: the expected calibration error over ten
        equal bins of the pair probability, in [0, 1].
    """
    numbers: dict[str, dict[str, float]] = {}
    for name, records in measured.items():
        probabilities, targets = [], []
        for record in records:
            scores = combination.scores(record.features)
            for i, j, p in record.pairs:
                if p != 0.5:
                    probabilities.append(1.0 / (1.0 + np.exp(-np.clip(scores[i] - scores[j], -60.0, 60.0))))
                    targets.append(p)
        if probabilities:
            given, wanted = np.array(probabilities), np.array(targets)
            numbers[name] = {
                "pairs": len(given),
                "accuracy": float(((given > 0.5) == (wanted > 0.5)).mean()),
                "calibration_error": calibration_error(given, wanted),
            }
    return numbers


def _agreement(first: Measured, second: Measured, combination: Combination) -> dict[str, float]:
    """Share of decided pairs with the same verdict, by source and over all (``"all"``)."""
    result: dict[str, float] = {}
    every: list[bool] = []
    for name in first:
        same: list[bool] = []
        for one, other in zip(first[name], second[name], strict=True):
            a, b = combination.scores(one.features), combination.scores(other.features)
            same += [bool((a[i] > a[j]) == (b[i] > b[j])) for i, j, _ in one.pairs]
        if same:
            result[name] = sum(same) / len(same)
        every += same
    return {**result, "all": sum(every) / len(every)} if every else result


def _score(ranker: EmbeddedRanker) -> Callable[[str, Sequence[str]], list[float]]:
    return lambda prompt, texts: ranker.score(prompt, texts)[0]


def _with_model(ranker: EmbeddedRanker, model: Path) -> EmbeddedRanker:
    """The same ranker with another model file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return ranker.with_session(session)

"""The last steps of a run: export, fit the combination on held-out prompts, check int8 against float32.

A run of the form ``"pair"`` ends in ``finish_pair``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.onnx import open_session
from blender_core.rank.calibration import calibration_error, fit_temperature
from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.lexical_consensus import measure_agreement
from blender_core.rank.logistic_regression import fit_logistic
from blender_core.rank.pair_ranker import PairRanker
from blender_core.rank.pairrm.scorer import PairScorer
from blender_core.text.distinct import distinct_candidates
from blender_lab.data.preferences import PreferenceRecord
from blender_lab.ranker.config import SMALLEST_WINDOW, RankerTrainingConfig, Stage
from blender_lab.ranker.development import HeldOut, PairLogit, held_out_groups, pair_logits
from blender_lab.ranker.export import encoder_folder, load_scorer, write_ranker, write_settings
from blender_lab.ranker.loop import START_FILE, load_checkpoint, mix_with_start
from blender_lab.ranker.one_pass import load_tokenizer, longest_row, segment_layout
from blender_lab.ranker.pair import PairForm, pair_lengths
from blender_lab.ranker.sampling import pack_texts
from blender_lab.ranker.targets import PairTarget
from blender_lab.ranker.train import build_form, check_resumable_ranker, source_records, source_targets

__all__ = [
    "Combination",
    "RecordFeatures",
    "chosen_checkpoint",
    "development_numbers",
    "finish_pair_ranker",
    "finish_ranker",
    "fit_combination",
    "record_features",
]

Array = npt.NDArray[np.float64]

_GROUP_SIZE = 4
_GROUPS = 20


@dataclass(frozen=True, slots=True)
class RecordFeatures:
    """What is known of one record's candidates.

    Attributes:
        features: Shape (candidates, 3): the scorer's output, word overlap, agreement on the final answer.
        pairs: Pairs with a known order.
    """

    features: Array
    pairs: list[PairTarget]


@dataclass(frozen=True, slots=True)
class Combination:
    """Fitted weights.

    Attributes:
        model_weight: Factor of the scorer's output.
        overlap_weight: Factor of the word overlap.
        final_answer_weight: Factor of the agreement on the final answer.
        temperature: Divides the margin between the first two before the sigmoid.
    """

    model_weight: float
    overlap_weight: float
    final_answer_weight: float
    temperature: float

    def scores(self, features: Array) -> Array:
        """Scores of candidates, shape (candidates,)."""
        weights = np.array([self.model_weight, self.overlap_weight, self.final_answer_weight])
        scores: Array = features @ weights
        return scores


def record_features(
    record: PreferenceRecord, pairs: list[PairTarget], score: Callable[[str, Sequence[str]], list[float]]
) -> RecordFeatures | None:
    """Measure one record.

    Args:
        record: The record.
        pairs: Its pairs with a known order.
        score: The scorer: prompt and texts to one number a text.

    Returns:
        The features, or ``None`` where no pair of non-blank candidates is left.
    """
    distinct = distinct_candidates(record.candidates)
    usable = [
        (i, j, p)
        for i, j, p in pairs
        if distinct.positions[i] is not None
        and distinct.positions[j] is not None
        and distinct.positions[i] != distinct.positions[j]
    ]
    if not usable:
        return None
    agreement = measure_agreement(distinct)
    own = np.array([score(record.prompt, distinct.texts), agreement.overlap, agreement.final]).T
    # blanks take row 0; no pair names them
    rows = [position or 0 for position in distinct.positions]
    return RecordFeatures(own[rows], usable)


def fit_combination(
    sources: Mapping[str, Sequence[RecordFeatures]], *, use_agreement: bool = True, ridge: float = 1e-3
) -> Combination:
    """Fit the weights by logistic regression on feature differences, then the temperature.

    The temperature is that of the margin between the first two of four candidates.

    Every source weighs the same, and so does every record within its source. Weights are kept at 0 or above:
    agreement may help or be left out, it is never counted against a candidate.

    Args:
        sources: Measured records by source.
        use_agreement: ``False`` leaves the two agreement features out.
        ridge: Penalty on squared weights.

    Returns:
        The combination.
    """
    differences, targets, weights = _pairs(sources)
    columns = [0, 1, 2] if use_agreement else [0]
    chosen = np.zeros(3)
    while True:
        # no intercept: swapping a pair must negate its logit
        solution, _ = fit_logistic(differences[:, columns], targets, weights, ridge * np.eye(len(columns)))
        if (solution[1:] >= 0).all():
            break
        worst = 1 + int(solution[1:].argmin())
        columns.pop(worst)
    chosen[columns] = solution
    model, overlap, final = map(float, chosen)
    combination = Combination(model, overlap, final, temperature=1.0)
    return replace(combination, temperature=_group_temperature(sources, combination))


def _pairs(sources: Mapping[str, Sequence[RecordFeatures]]) -> tuple[Array, Array, Array]:
    differences, targets, weights = [], [], []
    for records in sources.values():
        for record in records:
            for i, j, p in record.pairs:
                differences.append(record.features[i] - record.features[j])
                targets.append(p)
                weights.append(1.0 / (len(record.pairs) * len(records) * len(sources)))
    return np.array(differences), np.array(targets), np.array(weights)


def _group_temperature(sources: Mapping[str, Sequence[RecordFeatures]], combination: Combination) -> float:
    """Temperature that fits the margin between the first two of small groups.

    The first two of sixteen candidates are harder to tell apart than two at random, so groups of the size of a
    usual ensemble are drawn from each record.
    """
    rng = np.random.default_rng(0)
    margins, targets, weights = [], [], []
    for records in sources.values():
        for record in records:
            scores = combination.scores(record.features)
            known = {frozenset(pair[:2]): pair for pair in record.pairs}
            for _ in range(_GROUPS):
                group = rng.permutation(len(scores))[:_GROUP_SIZE]
                first, second = (int(index) for index in sorted(group, key=lambda index: -scores[index])[:2])
                pair = known.get(frozenset((first, second)))
                if pair is not None:
                    margins.append(scores[first] - scores[second])
                    targets.append(pair[2] if pair[0] == first else 1.0 - pair[2])
                    weights.append(1.0 / len(records))
    return fit_temperature(margins, targets, weights)


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
        data: The data folder; ``None`` for ``BLENDER_DATA``.
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
        config = config.replace(stages=(Stage(max_tokens=max_tokens),))
    form, texts = build_form(config)
    assert isinstance(form, PairForm)
    load_checkpoint(chosen_checkpoint(config), form.module)
    form.module.eval()
    window = config.largest_window
    measured: dict[str, list[PairLogit]] = {}
    for name, source in config.sources.items():
        held_out = source_records(config, source, data)[1][:records]
        groups = held_out_groups(
            HeldOut(pack_texts(held_out, texts.encode_batch), source_targets(source, held_out)), most_pairs=12
        )
        measured[name] = pair_logits(form, groups, window)
    temperature, position_bias = _pair_temperature(measured), _position_bias(measured)
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
        "sources": {
            name: _pair_numbers(logits, temperature, position_bias) for name, logits in measured.items() if logits
        },
    }
    (Path(config.output) / "development.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _pair_temperature(measured: dict[str, list[PairLogit]]) -> float:
    """The temperature with the least cross-entropy on the labels, every source weighing the same."""
    pairs = [(pair.logit, pair.target, 1.0 / len(own)) for own in measured.values() for pair in own]
    logits, targets, weights = zip(*pairs, strict=True) if pairs else ((), (), ())
    return round(fit_temperature(logits, targets, weights), 4)


def _position_bias(measured: dict[str, list[PairLogit]]) -> float:
    """The mean logit in favour of the left side, every source weighing the same."""
    own = [np.mean([(pair.forward - pair.backward) / 2 for pair in logits]) for logits in measured.values() if logits]
    return round(float(np.mean(own)), 4) if own else 0.0


def _pair_numbers(logits: list[PairLogit], temperature: float, position_bias: float) -> dict[str, float]:
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
        # the first is on the left in one order and on the right in the other
        "position_bias": float((forward - backward).mean() / 2),
        "calibration_error": calibration_error(probability, target),
    }


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
        data: The data folder; ``None`` for ``BLENDER_DATA``.
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
    load_checkpoint(chosen_checkpoint(config), model)
    if config.start_share:
        mix_with_start(model, Path(config.output) / START_FILE, config.start_share)
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
        held_out = source_records(config, source, data)[1][:records]
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
    return ranker.with_session(open_session(str(model), source=str(model), threads=1))

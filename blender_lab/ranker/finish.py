"""The last steps of a run: export, fit the combination on held-out prompts, check int8 against float32.

A run of the form ``"pair"`` ends in ``finish_pair_ranker``.
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.onnx import open_session
from blender_core.rank.answer_features import FeatureNetwork
from blender_core.rank.calibration import calibration_error, fit_temperature
from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.pair_ranker import PairRanker
from blender_core.rank.pairrm.scorer import PairScorer
from blender_core.runtime.numbers import check_number
from blender_core.text.distinct import distinct_candidates
from blender_lab.data.preferences import PreferenceRecord
from blender_lab.ranker.combine import (
    MeasuredRecord,
    Measures,
    combination_numbers,
    combination_temperature,
    fit_network,
    measure_record,
    with_encoder,
)
from blender_lab.ranker.config import SMALLEST_WINDOW, RankerTrainingConfig, Stage
from blender_lab.ranker.development import HeldOut, PairLogit, held_out_groups, pair_logits
from blender_lab.ranker.export import EMBEDDED, encoder_folder, load_scorer, write_ranker, write_settings
from blender_lab.ranker.loop import START_FILE, load_checkpoint, mix_with_start
from blender_lab.ranker.one_pass import load_tokenizer, longest_row, segment_layout
from blender_lab.ranker.pair import PairForm, pair_lengths
from blender_lab.ranker.sampling import pack_texts
from blender_lab.ranker.targets import PairTarget
from blender_lab.ranker.train import build_form, check_resumable_ranker, source_records, source_targets

__all__ = [
    "chosen_checkpoint",
    "combine_ranker",
    "finish_pair_ranker",
    "finish_ranker",
]

Measured = dict[str, list[MeasuredRecord]]

_FEWEST_CANDIDATES = 8


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
        records: Most held-out records a source. More of the source, up to ``combination.texts`` answers, are what the
            combination of features is fitted to.

    Returns:
        The numbers on held-out training prompts; also written to ``development.json`` in the run's output.

    Raises:
        CheckpointError: The checkpoint does not fit the settings, or ``start_share`` is set for a run that began
            without it.
        ConfigurationError: The output holds a run with other settings, ``max_tokens`` is too small or more than the
            encoder reads, or there is no held-out record to fit with.
    """
    check_resumable_ranker(config)
    check_number("records", records, least=1, whole=True)
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
    known = _records(config, data, records)
    exact_file = write_ranker(model, tokenizer_file, layout, folder, max_tokens=window)
    int8 = EmbeddedRanker.load(folder, threads=config.threads)
    exact = _with_model(int8, exact_file)
    exact_file.unlink()

    measured, fresh, fresh_exact = _measured(config, known, int8, exact)
    network, temperature, report = _combined(config, measured, fresh)
    write_settings(folder, layout, max_tokens=window, settings={"network": network, "temperature": temperature})
    report |= {
        "int8_agrees": _agreement(fresh, fresh_exact, FeatureNetwork.weighted(encoder=1.0)),
        "int8_agrees_combined": _agreement(fresh, fresh_exact, FeatureNetwork.from_dict(network)),
    }
    (Path(config.output) / "development.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def combine_ranker(
    config: RankerTrainingConfig, folder: str | Path, *, data: str | Path | None = None, records: int = 60
) -> dict[str, Any]:
    """Fit anew how an exported ranker combines its features; its encoder stays as it is.

    Args:
        config: ``encoder`` is the ranker: ``"embedded"`` or the folder of an exported one. Its sources and
            ``combination`` say what is fitted.
        folder: Where to write the ranker with the new combination.
        data: The data folder; ``None`` for ``BLENDER_DATA``.
        records: Most held-out records a source, which the numbers are of.

    Returns:
        The numbers on held-out prompts: ``combined`` and ``model_alone``, by source.

    Raises:
        CheckpointError: The ranker cannot be read.
        ConfigurationError: There is no held-out record with a pair of known order, or ``folder`` is the ranker's own.
    """
    folder = Path(folder)
    resource = importlib.resources.files("blender_core.rank") / "embedded_weights"
    with importlib.resources.as_file(resource) if config.encoder == EMBEDDED else nullcontext(config.encoder) as start:
        if folder.resolve() == Path(start).resolve():
            raise ConfigurationError(f"the ranker lies in {folder}; give another folder to write to")
        ranker = EmbeddedRanker.load(start, threads=config.threads)
        measured, fresh, _ = _measured(config, _records(config, data, records), ranker, None)
        network, temperature, report = _combined(config, measured, fresh)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("model.int8.onnx", "tokenizer.json"):
            shutil.copy(Path(start) / name, folder / name)
    own = ranker.settings
    write_settings(
        folder, own.layout, max_tokens=own.max_tokens, settings={"network": network, "temperature": temperature}
    )
    return report


def _combined(
    config: RankerTrainingConfig, measured: Measured, fresh: Measured
) -> tuple[dict[str, Any], float, dict[str, Any]]:
    # judged on prompts that the network did not see, then fitted to all
    apart = {name: _apart(items, fresh[name]) for name, items in measured.items()}
    judged = fit_network(apart if any(apart.values()) else measured, config.combination)
    network = fit_network(measured, config.combination, seed=config.seed)
    temperature = round(combination_temperature(measured, network, config.combination.weights), 4)
    report = {
        "temperature": temperature,
        "combined": combination_numbers(fresh, judged),
        "model_alone": combination_numbers(fresh, FeatureNetwork.weighted(encoder=1.0)),
        "records": {name: len(items) for name, items in measured.items()},
    }
    return network.to_dict(), temperature, report


Records = list[tuple[PreferenceRecord, list[PairTarget]]]


def _records(
    config: RankerTrainingConfig, data: str | Path | None, held_out: int
) -> dict[str, tuple[Records, Records]]:
    """By source the held-out records, and training records, each with its pairs of known order."""
    found = {}
    for name, source in config.sources.items():
        if config.combination.weights.get(name, 1.0) == 0.0:
            continue
        train, fresh = source_records(config, source, data)
        # files are in the order of their tasks, and the first records must not be of one task
        rng = np.random.default_rng(config.seed)
        own, train = ([part[int(index)] for index in rng.permutation(len(part))] for part in (fresh, train))
        own = own[:held_out]
        both = [list(zip(part, source_targets(source, part), strict=True)) for part in (own, train)]
        found[name] = (both[0], both[1])
    if not any(pairs for own, _ in found.values() for _, pairs in own):
        raise ConfigurationError(
            "the export is judged on held-out records, and none has a pair with a known order; development_share is "
            f"{config.development_share}: give more data"
        )
    return found


def _measured(
    config: RankerTrainingConfig,
    known: Mapping[str, tuple[Records, Records]],
    int8: EmbeddedRanker,
    exact: EmbeddedRanker | None,
) -> tuple[Measured, Measured, Measured]:
    """All measured records by source; of these the held-out ones; the same by the float32 model."""
    most = config.combination.texts
    # a weighted sum reads no similarity
    measure: Measures = partial(int8.measure, similarity=config.combination.hidden > 0)
    every: Measured = {}
    fresh: Measured = {}
    fresh_exact: Measured = {}
    for name, (held_out, train) in known.items():
        count = max(1, len(held_out) + len(train))
        # many candidates of few records, few candidates of many records
        size = max(_FEWEST_CANDIDATES, most // count)
        every[name], fresh[name], fresh_exact[name] = [], [], []
        used = 0
        for number, (record, pairs) in enumerate((*held_out, *train)):
            if used >= most:
                break
            one = measure_record(record, pairs, measure, most=size)
            if one is None:
                continue
            used += len(one.candidates)
            every[name].append(one)
            if number < len(held_out):
                fresh[name].append(one)
                if exact is None:
                    continue
                texts = distinct_candidates(one.candidates).texts
                fresh_exact[name].append(with_encoder(one, np.array(exact.score(record.prompt, texts)[0])))
    return every, fresh, fresh_exact


def _apart(items: Sequence[MeasuredRecord], held_out: Sequence[MeasuredRecord]) -> list[MeasuredRecord]:
    known = {id(item) for item in held_out}
    return [item for item in items if id(item) not in known]


def _agreement(first: Measured, second: Measured, network: FeatureNetwork) -> dict[str, float]:
    """Share of pairs with the same verdict, by source and over all (``"all"``)."""
    result: dict[str, float] = {}
    every: list[bool] = []
    for name in first:
        same: list[bool] = []
        for one, other in zip(first[name], second[name], strict=True):
            for i, j, _ in one.pairs:
                a, b = network.scores(one.group([i, j])[0]), network.scores(other.group([i, j])[0])
                same.append(bool((a[0] > a[1]) == (b[0] > b[1])))
        if same:
            result[name] = sum(same) / len(same)
        every += same
    return {**result, "all": sum(every) / len(every)} if every else result


def _with_model(ranker: EmbeddedRanker, model: Path) -> EmbeddedRanker:
    """The same ranker with another model file."""
    return ranker.with_session(open_session(str(model), source=str(model), threads=1))

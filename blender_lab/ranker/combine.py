"""Fit how the embedded ranker combines its features: a small network, on groups as an ensemble has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from blender_core.errors import ConfigurationError
from blender_core.rank.answer_features import FEATURES, FeatureNetwork, TextMeasures, answer_features
from blender_core.rank.calibration import calibration_error, fit_temperature
from blender_core.rank.logistic_regression import fit_logistic, sigmoid
from blender_core.text.distinct import distinct_candidates
from blender_lab.data.preferences import PreferenceRecord
from blender_lab.ranker.config import CombinationConfig
from blender_lab.ranker.targets import PairTarget

__all__ = [
    "MeasuredRecord",
    "Measures",
    "combination_numbers",
    "combination_temperature",
    "fit_network",
    "fit_weighted_sum",
    "measure_record",
    "with_encoder",
]

Array = npt.NDArray[np.float64]
Measured = Mapping[str, Sequence["MeasuredRecord"]]

# two answers alone are what most evaluation sets hold, four a usual ensemble, many the samples of one model
_GROUP_SIZES = (2, 2, 3, 4, 6, 8, 12, 16)
_GROUPS_PER_RECORD = 4
_TEMPERATURE_SIZE, _TEMPERATURE_GROUPS = 4, 20
_BATCH, _RATE = 512, 3e-3
_NO_PAIR = "no source with a weight above 0 has a pair with a known order; give more data"

Measures = Callable[[str, Sequence[str]], TextMeasures]
"""Takes a prompt and distinct texts, returns what the encoders say."""


@dataclass(frozen=True, slots=True)
class MeasuredRecord:
    """A record with what the encoders say of its candidates.

    Attributes:
        prompt: The prompt.
        candidates: The answers.
        positions: For each the index into the measured texts; ``None`` for a blank.
        measures: Of the distinct texts.
        pairs: Pairs of known order, of distinct texts that are not blank.
    """

    prompt: str
    candidates: tuple[str, ...]
    positions: tuple[int | None, ...]
    measures: TextMeasures
    pairs: tuple[PairTarget, ...]

    def group(self, indices: Sequence[int]) -> tuple[Array, list[PairTarget]]:
        """Make the features that some of the candidates have as an ensemble of their own.

        Args:
            indices: Candidates that are not blank.

        Returns:
            Features, shape (indices, features), and the pairs among them by their place in ``indices``.
        """
        distinct = distinct_candidates([self.candidates[index] for index in indices])
        first = {position: place for place, position in reversed(list(enumerate(distinct.positions)))}
        texts = [self.positions[indices[first[position]]] for position in range(len(distinct.texts))]
        features = answer_features(self.prompt, distinct, self.measures.of([text or 0 for text in texts]))
        place = {index: number for number, index in enumerate(indices)}
        pairs = [(place[i], place[j], p) for i, j, p in self.pairs if i in place and j in place]
        return features[[position or 0 for position in distinct.positions]], pairs

    @property
    def usable(self) -> list[int]:
        """The candidates that are not blank."""
        return [index for index, position in enumerate(self.positions) if position is not None]


def measure_record(
    record: PreferenceRecord, pairs: Sequence[PairTarget], measures: Measures, *, most: int
) -> MeasuredRecord | None:
    """Measure one record.

    Args:
        record: The record.
        pairs: Its pairs with a known order.
        measures: Asks the encoders.
        most: Most candidates; those that are in most pairs are kept.

    Returns:
        The record, or ``None`` if no decided pair of different texts is left.
    """
    count = [sum(index in pair[:2] for pair in pairs) for index in range(len(record.candidates))]
    kept = sorted(sorted(range(len(count)), key=lambda index: -count[index])[:most])
    place = {index: number for number, index in enumerate(kept)}
    texts = tuple(record.candidates[index] for index in kept)
    distinct = distinct_candidates(texts)
    where = distinct.positions
    usable = tuple(
        (place[i], place[j], p)
        for i, j, p in pairs
        if i in place
        and j in place
        and p != 0.5
        and where[place[i]] != where[place[j]]
        and None not in (where[place[i]], where[place[j]])
    )
    if not usable:
        return None
    return MeasuredRecord(record.prompt, texts, where, measures(record.prompt, distinct.texts), usable)


def _weighted(sources: Measured, weights: Mapping[str, float]) -> Iterator[tuple[MeasuredRecord, float]]:
    """Records with their weight; those of a source with the weight 0 are left out."""
    for name, records in sources.items():
        share = weights.get(name, 1.0) / max(1, len(records))
        for record in records if share else ():
            yield record, share


def fit_weighted_sum(sources: Measured, weights: Mapping[str, float], *, ridge: float = 1e-3) -> FeatureNetwork:
    """Fit the weights of the encoder and of agreement by logistic regression on feature differences.

    Every source weighs as ``weights`` says, every record within its source the same. Weights are kept at 0 or above:
    agreement may help or be left out, it is never counted against a candidate.

    Args:
        sources: Measured records by source.
        weights: Weight of each source; 1 for those left out.
        ridge: Penalty on squared weights.

    Returns:
        The weighted sum.

    Raises:
        ConfigurationError: No source with a weight has a pair.
    """
    differences: list[Array] = []
    targets: list[float] = []
    found: list[float] = []
    names = ["encoder", "overlap", "final_answer"]
    for record, share in _weighted(sources, weights):
        features, pairs = record.group(record.usable)
        for i, j, p in pairs:
            differences.append((features[i] - features[j])[[FEATURES.index(one) for one in names]])
            targets.append(p)
            found.append(share / len(pairs))
    if not differences:
        raise ConfigurationError(_NO_PAIR)
    rows, wanted, weight = np.array(differences), np.array(targets), np.array(found) / sum(found)
    columns = list(range(len(names)))
    while True:
        # no intercept: swapping a pair must negate its logit
        solution, _ = fit_logistic(rows[:, columns], wanted, weight, ridge * np.eye(len(columns)))
        if (solution[1:] >= 0).all():
            return FeatureNetwork.weighted(
                **{names[column]: round(float(value), 4) for column, value in zip(columns, solution, strict=True)}
            )
        columns.pop(1 + int(solution[1:].argmin()))


def fit_network(sources: Measured, config: CombinationConfig, *, seed: int = 0) -> FeatureNetwork:
    """Fit the network by logistic regression on score differences (Bradley-Terry); without units a weighted sum.

    The network corrects the weighted sum, which is fitted first and is hard to beat among many candidates. The mean
    square of the corrections is penalised, times the number of other candidates in the group. Groups of two to sixteen
    candidates are drawn from each record, since features depend on which candidates there are. Sources weigh as the
    configuration says, records of a source the same, and pairs of a group the same. The mean of several fits with
    other groups is taken, which is a network again.

    Args:
        sources: Measured records by source.
        config: Size of the network, its decay, the sources' weights, the number of fits.
        seed: Of the groups, the start and the order of the batches.

    Returns:
        The network.

    Raises:
        ConfigurationError: No source with a weight has a pair.
    """
    if not config.hidden:
        return fit_weighted_sum(sources, config.weights)
    start = FeatureNetwork.weighted(**config.start) if config.start else fit_weighted_sum(sources, config.weights)
    drawn = [_pairs(sources, config.weights, np.random.default_rng([seed, fit])) for fit in range(config.fits)]
    both = np.concatenate([side for first, second, *_ in drawn for side in (first, second)])
    mean, scale = both.mean(axis=0).round(5), both.std(axis=0).round(7) + 1e-6
    unused = [index for index, name in enumerate(FEATURES) if name in config.without]
    offsets = start.linear.copy()
    offsets[unused] = 0.0
    fitted = []
    for fit, (first, second, wanted, weights, others) in enumerate(drawn):
        a, b = (torch.tensor((side - mean) / scale, dtype=torch.float32) for side in (first, second))
        a[:, unused] = b[:, unused] = 0.0
        offset, target, weight, penalty = (
            torch.tensor(values, dtype=torch.float32)
            for values in ((first - second) @ offsets, wanted, weights / weights.mean(), config.penalty * others)
        )
        generator = torch.Generator().manual_seed(1000 * seed + fit)
        parts = _fit(a, b, offset, target, weight, penalty, config, generator)
        fitted.append([part.numpy().astype(np.float64) for part in parts])
    linear, hidden, bias, output = zip(*fitted, strict=True)
    count = config.fits
    arrays = [sum(linear) / count, np.concatenate(hidden), np.concatenate(bias), np.concatenate(output) / count]
    arrays[0][unused] = 0.0
    arrays[0] = arrays[0] + offsets * scale
    arrays[1][:, unused] = 0.0
    return FeatureNetwork(mean, scale, *(array.round(5) for array in arrays))


def _fit(
    a: torch.Tensor,
    b: torch.Tensor,
    offset: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    penalty: torch.Tensor,
    config: CombinationConfig,
    generator: torch.Generator,
) -> list[torch.Tensor]:
    count = len(FEATURES)
    bound = count**-0.5
    linear = torch.zeros(count)
    hidden = torch.empty(config.hidden, count).uniform_(-bound, bound, generator=generator)
    bias = torch.zeros(config.hidden)
    output = torch.empty(config.hidden).uniform_(-0.1, 0.1, generator=generator)
    parts = [part.requires_grad_() for part in (linear, hidden, bias, output)]
    optimiser = torch.optim.AdamW(parts, lr=_RATE, weight_decay=config.decay)
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1.0 - epoch / config.epochs)
        for rows in torch.randperm(len(a), generator=generator).split(_BATCH):  # type: ignore[no-untyped-call]
            correction = (a[rows] - b[rows]) @ linear + (
                torch.tanh(a[rows] @ hidden.T + bias) - torch.tanh(b[rows] @ hidden.T + bias)
            ) @ output
            losses = binary_cross_entropy_with_logits(offset[rows] + correction, target[rows], reduction="none")
            losses = losses + penalty[rows] * correction.square()
            optimiser.zero_grad()
            (weight[rows] * losses).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return [part.detach() for part in parts]


def _pairs(
    sources: Measured, weights: Mapping[str, float], rng: np.random.Generator
) -> tuple[Array, Array, Array, Array, Array]:
    first: list[Array] = []
    second: list[Array] = []
    wanted: list[float] = []
    found: list[float] = []
    others: list[int] = []
    for record, share in _weighted(sources, weights):
        groups = _groups(record, rng)
        for features, pairs in groups:
            for i, j, p in pairs:
                first.append(features[i])
                second.append(features[j])
                wanted.append(p)
                found.append(share / len(groups) / len(pairs))
                others.append(len(features) - 1)
    if not first:
        raise ConfigurationError(_NO_PAIR)
    return np.array(first), np.array(second), np.array(wanted), np.array(found), np.array(others)


def _groups(record: MeasuredRecord, rng: np.random.Generator) -> list[tuple[Array, list[PairTarget]]]:
    usable = record.usable
    if len(usable) == 2:
        return [record.group(usable)]
    groups = []
    for _ in range(_GROUPS_PER_RECORD):
        i, j, _p = record.pairs[int(rng.integers(len(record.pairs)))]
        rest = [index for index in usable if index not in (i, j)]
        size = min(int(rng.choice(_GROUP_SIZES)), len(usable))
        groups.append(record.group([i, j, *(rest[int(k)] for k in rng.permutation(len(rest))[: size - 2])]))
    return groups


def combination_temperature(sources: Measured, network: FeatureNetwork, weights: Mapping[str, float]) -> float:
    """Fit the temperature of the margin between the first two of groups of four.

    The first two of sixteen candidates are harder to tell apart than two at random, so groups of the size of a usual
    ensemble are drawn from each record.

    Args:
        sources: Measured records by source.
        network: The network.
        weights: Weight of each source; 1 for those left out.

    Returns:
        The temperature.
    """
    rng = np.random.default_rng(0)
    margins: list[float] = []
    targets: list[float] = []
    found: list[float] = []
    for record, share in _weighted(sources, weights):
        usable = record.usable
        for _ in range(_TEMPERATURE_GROUPS if len(usable) > _TEMPERATURE_SIZE else 1):
            chosen = [usable[int(k)] for k in rng.permutation(len(usable))[:_TEMPERATURE_SIZE]]
            features, pairs = record.group(chosen)
            scores = network.scores(features)
            leader, next_one = (int(index) for index in np.argsort(-scores, kind="stable")[:2])
            for i, j, p in pairs:
                if {i, j} == {leader, next_one}:
                    margins.append(float(scores[leader] - scores[next_one]))
                    targets.append(p if i == leader else 1.0 - p)
                    found.append(share)
    return fit_temperature(margins, targets, found)


def combination_numbers(sources: Measured, network: FeatureNetwork) -> dict[str, dict[str, float]]:
    """Measure accuracy and calibration on pairs, each judged on its own.

    Args:
        sources: Measured records by source.
        network: The network to judge.

    Returns:
        By source ``pairs``, ``accuracy`` and ``calibration_error``: the expected calibration error of the pairs'
        probabilities over ten equal bins, in [0, 1].
    """
    numbers: dict[str, dict[str, float]] = {}
    for name, records in sources.items():
        logits, targets = [], []
        for record in records:
            for i, j, p in record.pairs:
                scores = network.scores(record.group([i, j])[0])
                logits.append(float(scores[0] - scores[1]))
                targets.append(p)
        if logits:
            given, wanted = sigmoid(np.array(logits)), np.array(targets)
            numbers[name] = {
                "pairs": len(given),
                "accuracy": float(((given > 0.5) == (wanted > 0.5)).mean()),
                "calibration_error": calibration_error(given, wanted),
            }
    return numbers


def with_encoder(record: MeasuredRecord, scores: Array) -> MeasuredRecord:
    """Replace the cross-encoder's scores, for example by those of its float32 form."""
    return replace(record, measures=replace(record.measures, encoder=scores))

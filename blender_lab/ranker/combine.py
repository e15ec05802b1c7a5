"""Fitting how the cross-encoder's score and agreement are combined, on held-out training prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blender_core.data.preferences import PreferenceRecord
from blender_core.rank.lexical_consensus import measure_agreement
from blender_core.text.distinct import distinct_candidates
from blender_lab.ranker.targets import PairTarget

__all__ = ["Combination", "RecordFeatures", "fit_combination", "record_features"]

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
        loss: Mean logistic loss on the pairs, sources weighing the same.
    """

    model_weight: float
    overlap_weight: float
    final_answer_weight: float
    temperature: float
    loss: float

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
        solution = _logistic(differences[:, columns], targets, weights, ridge)
        if (solution[1:] >= 0).all():
            break
        worst = 1 + int(solution[1:].argmin())
        columns.pop(worst)
    chosen[columns] = solution
    model, overlap, final = map(float, chosen)
    loss = _loss(differences @ chosen, targets, weights)
    combination = Combination(model, overlap, final, temperature=1.0, loss=loss)
    return Combination(model, overlap, final, temperature=_temperature(sources, combination), loss=loss)


def _pairs(sources: Mapping[str, Sequence[RecordFeatures]]) -> tuple[Array, Array, Array]:
    differences, targets, weights = [], [], []
    for records in sources.values():
        for record in records:
            for i, j, p in record.pairs:
                differences.append(record.features[i] - record.features[j])
                targets.append(p)
                weights.append(1.0 / (len(record.pairs) * len(records) * len(sources)))
    return np.array(differences), np.array(targets), np.array(weights)


def _loss(margins: Array, targets: Array, weights: Array) -> float:
    losses = np.logaddexp(0.0, -margins) * targets + np.logaddexp(0.0, margins) * (1.0 - targets)
    return float((losses * weights).sum())


def _logistic(features: Array, targets: Array, weights: Array, ridge: float) -> Array:
    """Newton's method without an intercept: swapping a pair must negate its logit."""
    solution: Array = np.zeros(features.shape[1])
    for _ in range(100):
        probability = 1.0 / (1.0 + np.exp(-np.clip(features @ solution, -60.0, 60.0)))
        gradient = features.T @ (weights * (probability - targets)) + ridge * solution
        curvature = features.T @ (features * (weights * probability * (1.0 - probability))[:, None])
        step = np.linalg.solve(curvature + ridge * np.eye(len(solution)), gradient)
        # a step of at most 1 keeps far starts from overshooting
        solution = solution - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return solution


def _temperature(sources: Mapping[str, Sequence[RecordFeatures]], combination: Combination) -> float:
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
    if not margins:
        return 1.0
    grid = [math.exp(value) for value in np.linspace(math.log(0.5), math.log(5.0), 200)]
    losses = [_loss(np.array(margins) / value, np.array(targets), np.array(weights)) for value in grid]
    return float(grid[int(np.argmin(losses))])

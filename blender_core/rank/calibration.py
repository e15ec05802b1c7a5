"""Turn logits into calibrated probabilities: temperature, position bias, calibration error.

Temperature scaling (Guo et al. 2017, section 4.2) divides every logit by one number. So it changes the confidence of a
ranker, never its preference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blender_core.errors import ConfigurationError
from blender_core.rank.logistic_regression import sigmoid

__all__ = [
    "TEMPERATURES",
    "Calibration",
    "ComparedAnswers",
    "LabelledPair",
    "calibration_error",
    "fit_calibration",
    "fit_temperature",
    "labelled_pairs",
    "log_loss",
]

TEMPERATURES = (0.05, 20.0)
"""Smallest and largest temperature that ``fit_temperature`` returns."""

Floats = Sequence[float] | npt.NDArray[np.float64]
LabelledPair = tuple[str, str, str, float | str]
"""Prompt, a, b, and ``"A"``, ``"B"``, ``"tie"`` or the probability that a is better."""


class ComparedAnswers(Protocol):
    """A prompt with compared answers, such as a ``PreferenceRecord`` of ``blender_lab``."""

    @property
    def prompt(self) -> str:
        """The prompt."""

    @property
    def candidates(self) -> Sequence[str]:
        """The answers."""

    @property
    def comparisons(self) -> Sequence[tuple[int, int, float]]:
        """Index of a, index of b, and the probability that a is better."""


_LABELS = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted temperature and position bias, with the errors before and after.

    Losses and errors are measured on the pairs of the fit.

    Attributes:
        pairs: Labelled pairs used.
        skipped: Pairs left out, because an answer is blank or both are equal.
        both_orders: True if the temperature is for symmetrised logits, false if for logits of one order.
        temperature: Divides a logit before the sigmoid.
        position_bias: Logit that favours the left candidate.
        error_before: Expected calibration error over ten equal bins, with the previous temperature and bias.
        error_after: The same with the fitted ones.
        loss_before: Mean log loss in nats, before.
        loss_after: The same after.
    """

    pairs: int
    skipped: int
    both_orders: bool
    temperature: float
    position_bias: float
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Build from the result of ``to_dict``.

        Raises:
            TypeError: A field is missing or unknown.
        """
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Turn all fields into plain JSON types."""
        return asdict(self)


def labelled_pairs(pairs: Iterable[LabelledPair | ComparedAnswers]) -> list[tuple[str, str, str, float]]:
    """Turn the labels of pairs into probabilities.

    Args:
        pairs: Tuples ``(prompt, a, b, label)``, or records, which contribute all their comparisons.

    Returns:
        Tuples ``(prompt, a, b, probability that a is better)``.

    Raises:
        ConfigurationError: A label is unknown or outside [0, 1], or a tuple has another shape.

    Examples:
        >>> labelled_pairs([("2 + 2?", "4", "5", "A"), ("2 + 2?", "4", "four", 0.5)])
        [('2 + 2?', '4', '5', 1.0), ('2 + 2?', '4', 'four', 0.5)]
    """
    labelled: list[tuple[str, str, str, float]] = []
    for number, pair in enumerate(pairs):
        if isinstance(pair, tuple | list):
            if len(pair) != 4 or not all(isinstance(text, str) for text in pair[:3]):
                raise ConfigurationError(f"pair {number} is {pair!r}; give (prompt, a, b, label)")
            prompt, a, b, label = pair
            labelled.append((prompt, a, b, _probability(label, number)))
        else:
            labelled += [
                (pair.prompt, pair.candidates[i], pair.candidates[j], _probability(p, number))
                for i, j, p in pair.comparisons
            ]
    return labelled


def fit_temperature(logits: Floats, targets: Floats, weights: Floats | None = None) -> float:
    """Find the temperature that maximises the likelihood of the labels.

    The log loss of ``sigmoid(logit / T)`` is convex in ``1 / T``; bisection finds the root of its slope. If all logits
    agree with their labels, the loss falls with T and the lower bound is returned. If logits are uninformative (all
    ties, mostly wrong), the upper bound is returned. If every temperature is equally good (no pairs, all logits 0), 1
    is returned.

    Args:
        logits: Logits that the first is better, shape (pairs,).
        targets: Probabilities that it is, in [0, 1], same shape.
        weights: Weight of each pair, same shape; default 1.

    Returns:
        A number within ``TEMPERATURES``.

    Examples:
        >>> round(fit_temperature([2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 0.0]), 3)
        1.82
    """
    margin, wanted = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    weight = np.ones_like(margin) if weights is None else np.asarray(weights, dtype=np.float64)

    def slope(inverse: float) -> float:
        return float((weight * margin * (sigmoid(inverse * margin) - wanted)).sum())

    here = slope(1.0)
    if here == 0.0:
        return 1.0
    low, high = (1.0, 1.0 / TEMPERATURES[0]) if here < 0 else (1.0 / TEMPERATURES[1], 1.0)
    if slope(high) < 0:
        return TEMPERATURES[0]
    if slope(low) > 0:
        return TEMPERATURES[1]
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def fit_calibration(
    pairs: Iterable[LabelledPair | ComparedAnswers],
    logits: Callable[[list[tuple[str, str, str]]], Sequence[float]],
    both_orders: bool = True,
    *,
    temperature: float = 1.0,
    position_bias: float = 0.0,
) -> Calibration:
    """Fit a pairwise cross-encoder's temperature and position bias.

    The position bias is the mean of ``(M[a][b] + M[b][a]) / 2``, first index on the left. It needs no label, because
    the preference cancels out. The temperature is fitted to the logits that the ranker uses. With both orders
    these are ``(M[a][b] - M[b][a]) / 2``. With one order they are ``M[a][b] - bias`` and ``M[b][a] - bias``: each text
    is on the left half of the time.

    Args:
        pairs: Labelled pairs, as for ``labelled_pairs``.
        logits: Returns the logit that the left answer is better for each (prompt, left, right).
        both_orders: Whether the ranker runs both orders.
        temperature: Temperature in use, for comparison.
        position_bias: Position bias in use, for comparison.

    Returns:
        The calibration.

    Raises:
        ConfigurationError: No pair has two different answers, or a label is invalid.
    """
    labelled = labelled_pairs(pairs)
    kept = [(prompt, a, b, p) for prompt, a, b, p in labelled if a.strip() and b.strip() and a != b]
    if not kept:
        raise ConfigurationError(
            f"none of {len(labelled)} labelled pairs has two different answers that are not blank; "
            "a few hundred are needed to calibrate"
        )
    found = np.asarray(
        logits([pair for prompt, a, b, _ in kept for pair in ((prompt, a, b), (prompt, b, a))]), dtype=np.float64
    )
    forward, backward = found[::2], found[1::2]
    target = np.array([p for *_, p in kept])
    bias = float(((forward + backward) / 2).mean())
    if both_orders:
        before = after = (forward - backward) / 2
    else:
        # with one order, each pair gives two observations of its label
        target = np.concatenate([target, 1.0 - target])
        before, after = (np.concatenate([forward, backward]) - value for value in (position_bias, bias))
    fitted = fit_temperature(after, target)
    return Calibration(
        pairs=len(kept),
        skipped=len(labelled) - len(kept),
        both_orders=both_orders,
        temperature=fitted,
        position_bias=bias,
        error_before=calibration_error(sigmoid(before / temperature), target),
        error_after=calibration_error(sigmoid(after / fitted), target),
        loss_before=log_loss(before / temperature, target),
        loss_after=log_loss(after / fitted, target),
    )


def log_loss(logits: Floats, targets: Floats) -> float:
    """Compute the mean cross-entropy of ``sigmoid(logits)`` in nats.

    Args:
        logits: Shape (pairs,).
        targets: Probabilities in [0, 1], same shape.

    Returns:
        The loss, at least 0; lower is better.

    Examples:
        >>> round(log_loss([0.0], [1.0]), 4)
        0.6931
    """
    margin, wanted = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    return float((np.logaddexp(0.0, -margin) * wanted + np.logaddexp(0.0, margin) * (1.0 - wanted)).mean())


def calibration_error(given: Floats, wanted: Floats, *, lowest: float = 0.0) -> float:
    """Compute the expected calibration error over ten equal bins (Guo et al. 2017).

    Args:
        given: Probabilities, shape (pairs,).
        wanted: True outcomes in [0, 1], same shape.
        lowest: The smallest possible probability, at which the bins begin; 0.5 for the confidence in a winner.

    Returns:
        The error in [0, 1], lower is better; ``nan`` without pairs.

    Examples:
        >>> round(calibration_error([0.9, 0.9], [1.0, 0.0]), 3)
        0.4
    """
    says, truth = np.asarray(given, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    if not len(says):
        return math.nan
    bins = np.clip(((says - lowest) * (10 / (1 - lowest))).astype(int), 0, 9)
    return float(np.abs(np.bincount(bins, weights=says - truth, minlength=10)).sum() / len(says))


def _probability(label: object, number: int) -> float:
    if isinstance(label, str):
        if label.casefold() in _LABELS:
            return _LABELS[label.casefold()]
    elif isinstance(label, int | float) and not isinstance(label, bool) and 0.0 <= label <= 1.0:
        return float(label)
    raise ConfigurationError(
        f"pair {number} has the label {label!r}; give 'A', 'B', 'tie' or the probability in [0, 1] that a is better"
    )

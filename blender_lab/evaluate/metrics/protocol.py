"""What a metric is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from blender_core.errors import ConfigurationError, RankerError

__all__ = ["Metric", "score_pairs"]


@runtime_checkable
class Metric(Protocol):
    """Compares answers with references, one number a pair.

    Any object with a ``name`` and this method will do.

    Examples:
        >>> class Exact:
        ...     name = "exact"
        ...     def score(self, candidates, references):
        ...         return [float(c == r) for c, r in zip(candidates, references)]
        >>> isinstance(Exact(), Metric)
        True
        >>> score_pairs(Exact(), ["Paris", "Rome"], ["Paris", "Paris"])
        [1.0, 0.0]
    """

    @property
    def name(self) -> str:
        """Short name, the key under which MixInstruct's ``scores`` hold it."""
        ...

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """Score n pairs.

        Args:
            candidates: n answers; blank ones are allowed.
            references: n references, none blank.

        Returns:
            n finite numbers, greater is better, on the metric's own scale.
        """
        ...


def score_pairs(metric: Metric, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
    """Run a metric and check what it gives.

    Args:
        metric: The metric.
        candidates: n answers.
        references: n references.

    Returns:
        n finite numbers.

    Raises:
        ConfigurationError: The lengths differ, or a reference is blank.
        RankerError: The metric gave another count of numbers, or one that is not finite.
    """
    if len(candidates) != len(references):
        raise ConfigurationError(f"{len(candidates)} candidates and {len(references)} references; give one for each")
    blank = next((place for place, reference in enumerate(references) if not reference.strip()), None)
    if blank is not None:
        raise ConfigurationError(f"reference {blank} is blank; {metric.name} needs a reference for every candidate")
    scores = [float(score) for score in metric.score(candidates, references)] if candidates else []
    if len(scores) != len(candidates) or not all(map(math.isfinite, scores)):
        raise RankerError(
            f"{metric.name} gave {scores[:8]} for {len(candidates)} pairs; it must give a finite number each"
        )
    return scores

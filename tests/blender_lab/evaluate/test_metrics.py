"""Metrics against the libraries that define them, and against definitions."""

import pytest

from blender_core.errors import ConfigurationError
from blender_lab.evaluate.metrics.overlap import Bleu, ChrF, Rouge
from blender_lab.evaluate.metrics.registry import METRIC_NAMES, resolve_metric

CANDIDATES = ["the cat sat on the mat", "a dog", "the mat was sat on", ""]
REFERENCES = ["the cat sat on the mat", "the cat sat on the mat", "the cat sat on the mat", "the cat"]


def test_rouge_l_is_the_longest_common_subsequence():
    pytest.importorskip("rouge_score")
    found = Rouge("rougeL").score(CANDIDATES, REFERENCES)
    # "the sat on" is common to the third pair: 3 of 5 words, 3 of 6
    precision, recall = 3 / 5, 3 / 6
    assert found == pytest.approx([1.0, 0.0, 2 * precision * recall / (precision + recall), 0.0])
    with pytest.raises(ConfigurationError, match="rougeX"):
        Rouge("rougeX")


def test_rouge_1_counts_shared_words():
    pytest.importorskip("rouge_score")
    # the, mat, sat, on: 4 of 5 words, 4 of 6
    assert Rouge("rouge1").score(CANDIDATES[2:3], REFERENCES[:1]) == pytest.approx(
        [2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6)]
    )


def test_bleu_and_chrf_are_sacrebleus():
    sacrebleu = pytest.importorskip("sacrebleu")
    for candidate, reference, bleu, chrf in zip(
        CANDIDATES,
        REFERENCES,
        Bleu().score(CANDIDATES, REFERENCES),
        ChrF().score(CANDIDATES, REFERENCES),
        strict=True,
    ):
        assert bleu == sacrebleu.sentence_bleu(candidate, [reference]).score
        assert chrf == sacrebleu.sentence_chrf(candidate, [reference]).score


def test_metrics_by_name():
    pytest.importorskip("sacrebleu")
    assert resolve_metric("chrf").name == "chrf"
    assert "bertscore-minilm" in METRIC_NAMES
    with pytest.raises(ConfigurationError, match="beauty"):
        resolve_metric("beauty")

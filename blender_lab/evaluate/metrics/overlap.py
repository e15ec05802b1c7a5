"""Metrics of shared words and letters: ROUGE, BLEU and chrF, from the libraries that define them."""

from __future__ import annotations

from collections.abc import Sequence

from blender_core.errors import ConfigurationError
from blender_core.runtime.extras import require

__all__ = ["Bleu", "ChrF", "Rouge"]

_ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Rouge:
    """ROUGE F1 (Lin 2004) by Google's ``rouge-score``, in [0, 1].

    Args:
        kind: ``"rouge1"``, ``"rouge2"``, ``"rougeL"`` or ``"rougeLsum"``.
        stemmer: Reduce English words to their stems first.

    Raises:
        ConfigurationError: The kind is unknown.
        MissingExtraError: ``rouge-score`` is not installed.

    Examples:
        >>> round(Rouge("rougeL").score(["the cat sat"], ["the cat sat down"])[0], 4)
        0.8571
    """

    def __init__(self, kind: str = "rougeL", *, stemmer: bool = False) -> None:
        if kind not in _ROUGE:
            raise ConfigurationError(f"ROUGE has no kind {kind!r}; choose one of {', '.join(_ROUGE)}")
        library = require("rouge_score.rouge_scorer", feature=f"the metric {kind}", extra="eval")
        self.name = kind
        self._scorer = library.RougeScorer([kind], use_stemmer=stemmer)

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """F1 of each pair; see ``Metric.score``."""
        return [
            float(self._scorer.score(reference, candidate)[self.name].fmeasure)
            for candidate, reference in zip(candidates, references, strict=True)
        ]


class Bleu:
    """BLEU of single sentences (Papineni et al. 2002) by ``sacrebleu``, in [0, 100].

    Exponential smoothing and the effective order, as ``sacrebleu.sentence_bleu``: a mean over sentences, not the BLEU
    of a corpus.

    Raises:
        MissingExtraError: ``sacrebleu`` is not installed.

    Examples:
        >>> round(Bleu().score(["the cat sat on the mat"], ["the cat sat on the mat"])[0], 4)
        100.0
    """

    name = "bleu"

    def __init__(self) -> None:
        library = require("sacrebleu.metrics", feature="the metric bleu", extra="eval")
        self._bleu = library.BLEU(effective_order=True)

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """BLEU of each pair; see ``Metric.score``."""
        return [
            float(self._bleu.sentence_score(candidate, [reference]).score)
            for candidate, reference in zip(candidates, references, strict=True)
        ]


class ChrF:
    """chrF of single sentences (Popović 2015) by ``sacrebleu``, in [0, 100].

    Character n-grams up to 6, recall twice as heavy as precision.

    Raises:
        MissingExtraError: ``sacrebleu`` is not installed.

    Examples:
        >>> round(ChrF().score(["a small cat"], ["a small cat"])[0], 4)
        100.0
    """

    name = "chrf"

    def __init__(self) -> None:
        library = require("sacrebleu.metrics", feature="the metric chrf", extra="eval")
        self._chrf = library.CHRF()

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """ChrF of each pair; see ``Metric.score``."""
        return [
            float(self._chrf.sentence_score(candidate, [reference]).score)
            for candidate, reference in zip(candidates, references, strict=True)
        ]

"""BLEURT over its PyTorch conversions.

Sellam et al. 2020, "BLEURT: Learning Robust Metrics for Text Generation". The authors' package needs TensorFlow;
the conversions ``Elron/bleurt-*`` are BERT classifiers with one logit that read the reference first, then the answer.
BLEURT-20 (RemBERT) needs a model class that transformers does not have.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from blender_core.errors import CheckpointError
from blender_core.models.loading import EncoderOptions, load_encoder, takes_load_options

if TYPE_CHECKING:
    from blender_core.models.encoder import EncoderModel

__all__ = ["PAPER_BLEURT", "Bleurt"]

PAPER_BLEURT = "Elron/bleurt-base-128"
"""Conversion of the checkpoint that ``evaluate.load("bleurt")`` takes when none is named, as in LLM-Blender's code."""


class Bleurt:
    """BLEURT, about -2 to 1. Make one with ``from_pretrained``.

    Args:
        model: The loaded classifier with one logit.
        name: Key of the scores.

    Raises:
        CheckpointError: The model has more than one logit.
    """

    def __init__(self, model: EncoderModel, *, name: str = "bleurt") -> None:
        if model.config.num_labels != 1:
            raise CheckpointError(f"the model has {model.config.num_labels} labels; BLEURT has one logit")
        self._model = model
        self.name = name

    @classmethod
    @takes_load_options(EncoderOptions, dtype="float32")
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = PAPER_BLEURT,
        *,
        name: str = "bleurt",
        **load: Unpack[EncoderOptions],
    ) -> Bleurt:
        """Load a conversion.

        Args:
            name_or_path: A folder or a hub repository.
            name: Key of the scores.
            **load: Where it comes from and how it runs: ``blender_core.models.loading.EncoderOptions``.

        Returns:
            The metric.

        Raises:
            CheckpointError: It has more than one logit.
            BlendError: It cannot be had or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        return cls(
            load_encoder("AutoModelForSequenceClassification", name_or_path, load, feature="Bleurt"),
            name=name,
        )

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """Score n pairs; see ``Metric.score``.

        Each text may use what the other leaves free of the window, and gets half where both are too long.

        Args:
            candidates: n answers.
            references: n references.

        Returns:
            n logits.

        Raises:
            RankerError: The model failed.
        """
        rows = [
            self._model.tokenizer.pair(reference, candidate, self._model.max_tokens)
            for candidate, reference in zip(candidates, references, strict=True)
        ]
        return self._model.values(rows, lambda logits: logits[:, 0])

"""BLEURT over its PyTorch conversions.

Sellam et al. 2020, "BLEURT: Learning Robust Metrics for Text Generation". The authors' package needs TensorFlow;
the conversions ``Elron/bleurt-*`` are BERT classifiers with one logit that read the reference first, then the answer.
BLEURT-20 (RemBERT) needs a model class that transformers does not have.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blender_core.errors import CheckpointError
from blender_core.extras import require

if TYPE_CHECKING:
    from blender_core.rank.encoder_model import EncoderModel

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
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = PAPER_BLEURT,
        *,
        name: str = "bleurt",
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token_budget: int = 4096,
    ) -> Bleurt:
        """Load a conversion.

        Args:
            name_or_path: A folder or a hub repository.
            name: Key of the scores.
            revision: Branch, tag or commit of the repository.
            device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.
            dtype: ``"auto"`` (float32 on a CPU, else float16) or a torch dtype's name.
            cache_dir: Cache folder of the hub.
            local_files_only: Use the cache only.
            token_budget: Most tokens in a forward pass, pads included.

        Returns:
            The metric.

        Raises:
            CheckpointError: It is no BERT classifier with one logit, or has no ``tokenizer.json``.
            DownloadError: The repository cannot be had.
            MissingExtraError: torch or transformers is not installed.
        """
        for module in ("torch", "transformers"):
            require(module, feature="Bleurt", extra="torch")
        from blender_core.rank.encoder_model import EncoderModel

        return cls(
            EncoderModel.from_pretrained(
                "AutoModelForSequenceClassification",
                name_or_path,
                revision=revision,
                device=device,
                dtype=dtype,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                max_tokens=None,
                token_budget=token_budget,
            ),
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
        scores = [0.0] * len(rows)
        for batch, output, _ in self._model.run(rows):
            for index, logit in zip(batch, output.logits[:, 0].float().tolist(), strict=True):
                scores[index] = float(logit)
        return scores

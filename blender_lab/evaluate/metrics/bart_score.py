"""BARTScore over any encoder-decoder that transformers can load.

Yuan, Neubig and Liu 2021, "BARTScore: Evaluating Generated Text as Text Generation", equation 2 with equal weights: the
mean log-probability of one text's tokens when the model reads the other. The authors publish a script, no package.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

from blender_core.errors import ConfigurationError, RankerError
from blender_core.models.loading import (
    LoadOptions,
    load_model,
    load_tokenizer,
    loading,
    require_transformers,
    takes_load_options,
)
from blender_core.text.unicode import without_surrogates

__all__ = ["PAPER_BART", "BartScore"]

PAPER_BART = "facebook/bart-large-cnn"
"""The model that LLM-Blender's code loads; it then puts the authors' ParaBank weights on it where the file is there."""

_IGNORED = -100
_DIRECTIONS = ("candidate to reference", "reference to candidate")


class BartScore:
    """BARTScore in nats for each token, below 0. Make one with ``from_pretrained``.

    Args:
        model: A transformers encoder-decoder, on its device.
        tokenizer: Its tokenizer.
        direction: ``"candidate to reference"`` (recall; LLM-Blender's) or ``"reference to candidate"`` (precision).
        batch_size: Pairs in a forward pass.
        max_tokens: Longer texts lose their end.
        name: Key of the scores.

    Raises:
        ConfigurationError: The direction is unknown, or a number is too small.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        direction: str = "candidate to reference",
        batch_size: int = 4,
        max_tokens: int = 1024,
        name: str = "bartscore",
    ) -> None:
        if direction not in _DIRECTIONS:
            raise ConfigurationError(f"direction is {direction!r}; choose one of {', '.join(map(repr, _DIRECTIONS))}")
        if batch_size < 1 or max_tokens < 4:
            raise ConfigurationError(f"batch_size is {batch_size} and max_tokens {max_tokens}; give at least 1 and 4")
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._forwards = direction == _DIRECTIONS[0]
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self.name = name

    @classmethod
    @takes_load_options(dtype="float32")
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = PAPER_BART,
        *,
        direction: str = "candidate to reference",
        batch_size: int = 4,
        max_tokens: int | None = None,
        name: str = "bartscore",
        **load: Unpack[LoadOptions],
    ) -> BartScore:
        """Load a model.

        Args:
            name_or_path: A folder or a hub repository of an encoder-decoder.
            direction: Which text is read, and which is scored.
            batch_size: Pairs in a forward pass.
            max_tokens: Longer texts lose their end; default 1,024, or the model's window where that is shorter.
            name: Key of the scores.
            **load: Where it comes from and how it runs: ``blender_core.models.loading.LoadOptions``.

        Returns:
            The metric.

        Raises:
            CheckpointError: It is no encoder-decoder that can be loaded.
            BlendError: It cannot be had or loaded; see ``blender_core.models.loading.loading``.
        """
        require_transformers("BartScore")
        path = os.fspath(name_or_path)
        with loading(path, "for BARTScore"):
            model = load_model("AutoModelForSeq2SeqLM", path, load, purpose="for BARTScore")
            tokenizer = load_tokenizer(path, load)
        window = int(getattr(model.config, "max_position_embeddings", 1024) or 1024)
        return cls(
            model,
            tokenizer,
            direction=direction,
            batch_size=batch_size,
            max_tokens=min(1024, window) if max_tokens is None else max_tokens,
            name=name,
        )

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """Score n pairs; see ``Metric.score``.

        Args:
            candidates: n answers.
            references: n references.

        Returns:
            n mean log-probabilities. The special tokens at both ends count, as in the authors' script.

        Raises:
            RankerError: The model failed.
        """
        read, written = (candidates, references) if self._forwards else (references, candidates)
        pairs = list(zip(read, written, strict=True))
        order = sorted(range(len(pairs)), key=lambda index: -len(pairs[index][0]) - len(pairs[index][1]))
        scores = [0.0] * len(pairs)
        for start in range(0, len(order), self._batch_size):
            part = order[start : start + self._batch_size]
            for index, value in zip(part, self._batch([pairs[index] for index in part]), strict=True):
                scores[index] = value
        return scores

    def _batch(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        import torch

        read = self._encode([first for first, _ in pairs])
        written = self._encode([second for _, second in pairs])
        labels = written["input_ids"].masked_fill(written["attention_mask"] == 0, _IGNORED)
        try:
            with torch.inference_mode():
                logits = self._model(**read, labels=labels).logits.float()
        except (IndexError, RuntimeError, ValueError) as error:
            raise RankerError(f"the model failed on {len(pairs)} pairs: {error}; lower max_tokens") from error
        kept = labels != _IGNORED
        chosen = logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        means = (chosen * kept).sum(1) / kept.sum(1)
        return [float(value) for value in means.tolist()]

    def _encode(self, texts: list[str]) -> dict[str, Any]:
        # surrogates cannot be encoded as UTF-8 and would stop the tokenizer
        clean = [without_surrogates(text) for text in texts]
        rows = self._tokenizer(clean, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        place = self._model.device
        return {name: rows[name].to(place) for name in ("input_ids", "attention_mask")}

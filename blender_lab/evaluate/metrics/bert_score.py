"""BERTScore over any encoder that transformers can load.

Zhang et al. 2020, "BERTScore: Evaluating Text Generation with BERT", section 3. The formula is here, and not taken from
``bert-score`` 0.3.13, because that package fails under transformers 5 on empty answers and on tokenizers that state no
window. Where it runs, the numbers agree.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from blender_core.errors import ConfigurationError
from blender_core.models.loading import EncoderOptions, load_encoder, takes_load_options

if TYPE_CHECKING:
    from blender_core.models.encoder import EncoderModel

__all__ = ["PAPER_ENCODER", "PAPER_LAYER", "BertScore"]

PAPER_ENCODER = "bert-base-multilingual-cased"
"""The encoder behind LLM-Blender's Table 2 and MixInstruct's ``bertscore``."""

PAPER_LAYER = 9
"""Its layer, the one that ``bert-score`` chooses for it."""

_VALUES = ("precision", "recall", "f1")
_CHUNK = 512  # texts whose token vectors are in memory at once


class BertScore:
    """BERTScore without idf weights and without rescaling, in [-1, 1]. Make one with ``from_pretrained``.

    Each token of one text is matched with its nearest token of the other text by cosine similarity. The special
    tokens at both ends can be matched, but do not count in the mean, as in ``bert-score``.

    Args:
        model: The loaded encoder.
        layer: Hidden states of this layer are compared; 0 is the embeddings, ``None`` the last layer.
        value: ``"f1"``, ``"precision"`` or ``"recall"``.
        name: Key of the scores.

    Raises:
        ConfigurationError: There is no such layer or value.
    """

    def __init__(
        self, model: EncoderModel, *, layer: int | None = None, value: str = "f1", name: str = "bertscore"
    ) -> None:
        layers = int(model.config.num_hidden_layers)
        if layer is not None and not 0 <= layer <= layers:
            raise ConfigurationError(f"layer is {layer}, the encoder has 0 to {layers}")
        if value not in _VALUES:
            raise ConfigurationError(f"value is {value!r}; choose one of {', '.join(_VALUES)}")
        self._model = model
        self._layer = None if layer == layers else layer
        if self._layer is not None:
            model.config.output_hidden_states = True
        self._value = _VALUES.index(value)
        self.name = name

    @classmethod
    @takes_load_options(EncoderOptions, dtype="float32")
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = PAPER_ENCODER,
        *,
        layer: int | None = None,
        value: str = "f1",
        name: str = "bertscore",
        **load: Unpack[EncoderOptions],
    ) -> BertScore:
        """Load an encoder.

        Args:
            name_or_path: A folder or a hub repository; the default is the encoder of LLM-Blender's Table 2.
            layer: Layer to compare; default 9 for that encoder, else the last one. BERTScore's authors publish the
                best layer for each model.
            value: ``"f1"``, ``"precision"`` or ``"recall"``.
            name: Key of the scores.
            **load: Where it comes from and how it runs: ``blender_core.models.loading.EncoderOptions``.

        Returns:
            The metric.

        Raises:
            CheckpointError: It is no encoder that can be loaded.
            BlendError: It cannot be had or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        path = os.fspath(name_or_path)
        model = load_encoder("AutoModel", path, load, feature="BertScore", unused=("pooler.",))
        if layer is None and path.rstrip("/").rsplit("/", 1)[-1] == PAPER_ENCODER:
            layer = PAPER_LAYER
        return cls(model, layer=layer, value=value, name=name)

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """Score n pairs; see ``Metric.score``. An answer without a token scores 0.

        Args:
            candidates: n answers.
            references: n references.

        Returns:
            n numbers.

        Raises:
            RankerError: The encoder failed.
        """
        pairs = list(zip(candidates, references, strict=True))
        # pairs of one reference together, so that it is encoded once
        order = sorted(range(len(pairs)), key=lambda index: (len(pairs[index][1]), pairs[index][1]))
        scores = [0.0] * len(pairs)
        for start in range(0, len(order), _CHUNK):
            part = order[start : start + _CHUNK]
            states = self._states(sorted({text for index in part for text in pairs[index]}))
            for index in part:
                scores[index] = _greedy_match(*(states[text] for text in pairs[index]))[self._value]
        return scores

    def _states(self, texts: Sequence[str]) -> dict[str, Any]:
        """Token vectors of length one for each text, special tokens first and last."""
        import torch

        rows = [self._model.tokenizer.single(text, self._model.max_tokens) for text in texts]
        states: dict[str, Any] = {}
        for batch, output, _ in self._model.run(rows):
            hidden = output.last_hidden_state if self._layer is None else output.hidden_states[self._layer]
            normed = torch.nn.functional.normalize(hidden.float(), dim=-1).cpu()
            for place, index in enumerate(batch):
                start, end = rows[index].answer
                states[texts[index]] = (normed[place, : len(rows[index].ids)].clone(), start, end)
        return states


def _greedy_match(candidate: tuple[Any, int, int], reference: tuple[Any, int, int]) -> tuple[float, float, float]:
    """Precision, recall and F1 of equations 1 and following; 0 where a text has no token of its own."""
    (first, first_start, first_end), (second, second_start, second_end) = candidate, reference
    if first_end == first_start or second_end == second_start:
        return 0.0, 0.0, 0.0
    similarity = first @ second.T
    precision = float(similarity.max(1).values[first_start:first_end].mean())
    recall = float(similarity.max(0).values[second_start:second_end].mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0

"""Rank with a pointwise cross-encoder: one forward pass scores one candidate.

SummaReranker (Ravaut et al. 2022), reward models (Ouyang et al. 2022, section 3.5) and
``sentence_transformers.CrossEncoder`` work this way. SummaReranker's heads for several metrics are not supported.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.models.encoder_inputs import tokens_cut
from blender_core.models.loading import EncoderOptions, load_encoder, takes_load_options
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    from blender_core.models.encoder import EncoderModel

__all__ = ["CrossEncoderRanker", "PairPredictor"]


class PairPredictor(Protocol):
    """Scores pairs, as a ``sentence_transformers.CrossEncoder`` does."""

    def predict(self, pairs: list[tuple[str, str]]) -> Any:
        """Return one number for each ``(prompt, candidate)``; higher is better."""


class CrossEncoderRanker:
    """Scores each candidate in one pass of a cross-encoder: n passes for n candidates.

    Args:
        model: An object with ``predict(pairs)``. It must be safe to call from several threads.
        name: Shown in results.
        temperature: Divides the margin between the first two before the sigmoid of the confidence. 1.0 fits a reward
            model's logits (Bradley-Terry). ``CrossEncoder.predict`` of sentence-transformers returns numbers in [0, 1],
            which need a lower one.

    Raises:
        ConfigurationError: ``temperature`` is not above zero, or ``model`` has no ``predict``.

    Examples:
        >>> class SharedWords:
        ...     def predict(self, pairs):
        ...         return [len(set(prompt.split()) & set(answer.split())) for prompt, answer in pairs]
        >>> CrossEncoderRanker(SharedWords()).rank("the capital of France", ["no idea", "the capital is Paris"]).best
        1
    """

    def __init__(self, model: PairPredictor, *, name: str = "cross-encoder", temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ConfigurationError(f"temperature is {temperature}; it must be above zero")
        if not callable(getattr(model, "predict", None)):
            raise ConfigurationError(
                f"{type(model).__name__} has no predict(pairs); pass a sentence_transformers.CrossEncoder or the like, "
                "or use CrossEncoderRanker.from_pretrained"
            )
        self._model = model
        self.name = name
        self._temperature = temperature

    @classmethod
    @takes_load_options(EncoderOptions)
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        name: str = "cross-encoder",
        temperature: float = 1.0,
        **load: Unpack[EncoderOptions],
    ) -> CrossEncoderRanker:
        """Load a one-logit encoder such as ``OpenAssistant/reward-model-deberta-v3-large-v2``.

        The score is the raw logit. A long prompt is cut in its middle, a long candidate at its end; ``Ranking.cut``
        reports both. Reward models on decoder-only LLMs need a chat template: wrap them in an object with ``predict``.

        Args:
            name_or_path: A folder or a hub repository.
            name: Shown in results.
            temperature: Divides the margin before the sigmoid.
            **load: Load options; see ``blender_core.models.loading.EncoderOptions``.

        Returns:
            The ranker.

        Raises:
            CheckpointError: The checkpoint is no classifier with one logit.
            BlendError: It cannot be downloaded or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        model = load_encoder(
            "AutoModelForSequenceClassification", name_or_path, load, feature="CrossEncoderRanker.from_pretrained"
        )
        if model.config.num_labels != 1:
            raise CheckpointError(
                f"{os.fspath(name_or_path)} has {model.config.num_labels} labels; a ranker needs a model with one logit"
            )
        return cls(_Classifier(model), name=name, temperature=temperature)

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by the model's scores; see ``Ranker.rank``."""
        distinct = distinct_candidates(candidates)
        cut: dict[int, int] = {}
        scores: list[float] = []
        if distinct.texts:
            pairs = [(prompt, text) for text in distinct.texts]
            if isinstance(self._model, _Classifier):
                scores, cut = self._model.score(pairs)
            else:
                scores = _numbers(self._model.predict(pairs))
        if len(scores) != len(distinct.texts) or not all(map(math.isfinite, scores)):
            raise RankerError(
                f"{self.name} gave {scores} for {len(distinct.texts)} candidates; it must give one finite number each"
            )
        return Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self.name,
            temperature=self._temperature,
            cut=distinct.spread_cut(cut),
        )

    def __repr__(self) -> str:
        return f"CrossEncoderRanker(name={self.name!r})"


class _Classifier:
    """A loaded classifier with one logit."""

    def __init__(self, model: EncoderModel) -> None:
        self._model = model

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        return self.score(pairs)[0]

    def score(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[float], dict[int, int]]:
        rows = [self._model.tokenizer.pair(prompt, text, self._model.max_tokens) for prompt, text in pairs]
        return self._model.values(rows, lambda logits: logits[:, 0]), tokens_cut(rows)


def _numbers(predicted: Any) -> list[float]:
    import numpy as np

    if hasattr(predicted, "detach"):
        predicted = predicted.detach().float().cpu()
    try:
        values = np.asarray(predicted, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RankerError(f"predict gave {type(predicted).__name__}, which is no list of numbers: {error}") from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise RankerError(f"predict gave an array of shape {values.shape}; a ranker needs one number for each pair")
    return [float(value) for value in values]

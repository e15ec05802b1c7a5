"""Rank with a pointwise cross-encoder: one forward pass scores one candidate.

SummaReranker (Ravaut et al. 2022), reward models with and without a chat template (Ouyang et al. 2022, section 3.5) and
``sentence_transformers.CrossEncoder`` work this way. SummaReranker's heads for several metrics are not supported.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.models.encoder_inputs import tokens_cut
from blender_core.models.hub import checkpoint_config
from blender_core.models.loading import (
    EncoderOptions,
    check_placement,
    has_chat_template,
    hub_options,
    load_conversation_model,
    load_encoder,
    loading,
    require_transformers,
    takes_load_options,
)
from blender_core.text.distinct import distinct_candidates
from blender_core.types.prompt import Prompt, PromptLike
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    from blender_core.models.encoder import EncoderModel
    from blender_core.rank.reward_model import RewardModel

__all__ = ["CrossEncoderRanker", "PairPredictor", "check_one_logit"]


class PairPredictor(Protocol):
    """Scores pairs, as a ``sentence_transformers.CrossEncoder`` does."""

    def predict(self, pairs: list[tuple[str, str]]) -> Any:
        """Return one number for each ``(prompt, candidate)``; higher is better."""


class CrossEncoderRanker:
    """Scores each candidate in one pass of a cross-encoder: n passes for n candidates.

    ``from_pretrained`` loads a reward model, with or without a chat template.

    Args:
        model: An object with ``predict(pairs)``. It must be safe to call from several threads. A reward model in a
            ``sentence_transformers.CrossEncoder`` is read by its chat template, as from ``from_pretrained``.
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

    reads_conversations = True

    def __init__(self, model: PairPredictor, *, name: str = "cross-encoder", temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ConfigurationError(f"temperature is {temperature}; it must be above zero")
        if not callable(getattr(model, "predict", None)):
            raise ConfigurationError(
                f"{type(model).__name__} has no predict(pairs); pass a sentence_transformers.CrossEncoder or the like, "
                "or use CrossEncoderRanker.from_pretrained"
            )
        self._model = _conversations_of(model) or model
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
        """Load a reward model, or another classifier with one logit.

        If the tokenizer has a chat template, as that of ``Skywork/Skywork-Reward-V2-Qwen3-0.6B``, the prompt and each
        candidate are written as a conversation of a user and an assistant. Without one, as for
        ``OpenAssistant/reward-model-deberta-v3-large-v2``, they are a pair of texts. No text can write a control token.
        The score is the raw logit. A long prompt is cut in its middle, a long candidate at its end; ``Ranking.cut``
        reports both.

        Args:
            name_or_path: A folder or a hub repository. Its own code is never run.
            name: Shown in results.
            temperature: Divides the margin before the sigmoid.
            **load: Load options; see ``blender_core.models.loading.EncoderOptions``.

        Returns:
            The ranker.

        Raises:
            CheckpointError: The checkpoint is no classifier with one logit, or lacks weights such as those of its head.
            BlendError: It cannot be downloaded or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        require_transformers("CrossEncoderRanker.from_pretrained")
        check_placement(load)
        path = os.fspath(name_or_path)
        with loading(path, "as a ranker"):
            config = checkpoint_config(path, **hub_options(load))
        check_one_logit(config, path)
        if has_chat_template(path, load):
            return cls(_Conversations.load(path, load, config), name=name, temperature=temperature)
        model = load_encoder(
            "AutoModelForSequenceClassification", path, load, feature="CrossEncoderRanker.from_pretrained"
        )
        if model.config.num_labels != 1:
            raise CheckpointError(_too_many_labels(path, model.config.num_labels))
        if not model.tokenizer.separates_pairs:
            raise CheckpointError(
                f"{path} is scored without a chat template, and its tokenizer puts nothing between a prompt and an "
                "answer; add the chat template that it was trained with to its folder"
            )
        return cls(_Pairs(model), name=name, temperature=temperature)

    def rank(self, prompt: PromptLike, candidates: Sequence[str]) -> Ranking:
        """Rank by the model's scores; see ``Ranker.rank``.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``. A model with a chat template reads the
                turns; others read the conversation as one text.
            candidates: The answers.

        Returns:
            The ranking.

        Raises:
            RankerError: The model failed, or did not give one finite number for each candidate.
        """
        asked = Prompt.of(prompt)
        distinct = distinct_candidates(candidates)
        cut: dict[int, int] = {}
        scores: list[float] = []
        if distinct.texts:
            if isinstance(self._model, _Scorer):
                scores, cut = self._model.score(asked, distinct.texts)
            else:
                scores = _numbers(self._model.predict([(asked.text, text) for text in distinct.texts]))
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


def check_one_logit(config: Mapping[str, Any], source: str) -> None:
    """Reject a checkpoint that does not give one number for a text, before its weights are fetched.

    Args:
        config: Its ``config.json``.
        source: Where it came from, for messages.

    Raises:
        CheckpointError: It has no head that scores, several labels, or needs code of its own.
    """
    stated = config.get("architectures") or []
    architectures = [str(one) for one in (stated if isinstance(stated, list) else [stated])]
    if architectures and not any(one.endswith("ForSequenceClassification") for one in architectures):
        own_code = " Code of its own is never run." if config.get("auto_map") else ""
        raise CheckpointError(
            f"{source} holds {', '.join(architectures)}, which has no head that scores answers; a reward model is a "
            f"...ForSequenceClassification with one label.{own_code}"
        )
    labels = _labels(config)
    if labels not in (None, 1):
        raise CheckpointError(_too_many_labels(source, labels))


def _too_many_labels(source: str, labels: object) -> str:
    return f"{source} has {labels!r} labels; a ranker needs a model with one logit"


def _labels(config: Mapping[str, Any]) -> Any:
    """Number of labels, if a config names it; anything else that it names comes back unchanged."""
    named, names = config.get("num_labels"), config.get("id2label")
    if named is not None or names is None:
        return named
    return len(names) or None if isinstance(names, Mapping) else names


class _Scorer(ABC):
    """Scores answers to one prompt, and says what it cut."""

    @abstractmethod
    def score(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], dict[int, int]]: ...

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        return [self.score(Prompt.of(prompt), [answer])[0][0] for prompt, answer in pairs]


class _Pairs(_Scorer):
    """A loaded classifier that reads a prompt and an answer as a pair of texts."""

    def __init__(self, model: EncoderModel) -> None:
        self._model = model

    def score(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], dict[int, int]]:
        rows = [self._model.tokenizer.pair(prompt.text, text, self._model.max_tokens) for text in answers]
        return self._model.values(rows, lambda logits: logits[:, 0]), tokens_cut(rows)


class _Conversations(_Scorer):
    """A loaded classifier that reads turns, written by its chat template."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model

    def score(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], dict[int, int]]:
        return self._model.score(prompt, answers)

    @classmethod
    def load(cls, path: str, load: EncoderOptions, config: Mapping[str, Any]) -> _Conversations:
        from blender_core.rank.reward_model import RewardModel

        # transformers' own default of two labels is not written into a config
        network, tokenizer, window = load_conversation_model(path, load, labels=_labels(config) or 1)
        return cls(RewardModel(network, tokenizer, max_tokens=window, token_budget=load["token_budget"]))


def _conversations_of(model: Any) -> _Conversations | None:
    """Take over a reward model in a ``sentence_transformers.CrossEncoder``, which would leave out its chat template."""
    network: Any = getattr(model, "model", None)
    tokenizer: Any = getattr(model, "tokenizer", None)
    if not getattr(tokenizer, "chat_template", None) or not type(network).__name__.endswith(
        "ForSequenceClassification"
    ):
        return None
    from blender_core.models.conversations import ConversationTokenizer
    from blender_core.models.shared_prefix import is_causal
    from blender_core.rank.reward_model import RewardModel

    # an encoder's chat template may belong to its base model
    if not is_causal(network):
        return None
    if network.config.num_labels != 1:
        raise CheckpointError(_too_many_labels(str(network.config.name_or_path), network.config.num_labels))
    tokenizer = ConversationTokenizer(tokenizer, str(network.config.name_or_path))
    window = int(model.max_seq_length or network.config.get_text_config().max_position_embeddings)
    return _Conversations(RewardModel(network, tokenizer, max_tokens=window, token_budget=4096))


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

"""Rank with the embedded int8 encoders, run by onnxruntime without torch.

One pass over ``[CLS] prompt [SEP] answer [SEP]`` scores one candidate (MiniLM-L6 encoder, the mean hidden state of
each segment, a small head). A second encoder, the same one before training, says how well the answer fits the prompt.
A small network combines both with agreement, length and form (``answer_features``). The logit that one candidate is
better than another is the difference of their scores. Swapping them negates it, so there is no position bias.
``docs/ranker.md`` reports the quality, the model card next to the weights the training data.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.models.onnx import open_session
from blender_core.models.segments import SegmentedText, SegmentLayout
from blender_core.models.sentence_encoder import SentenceEncoder
from blender_core.models.tokenizers import read_tokenizer, word_ids
from blender_core.rank.answer_features import FeatureNetwork, TextMeasures, answer_features
from blender_core.runtime.numbers import check_number
from blender_core.runtime.outside import read_json
from blender_core.runtime.threads import stop_if_given_up
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from blender_core.models.sentence_encoder import Vectors

__all__ = ["EmbeddedRanker", "EmbeddedSettings"]


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """The contents of ``ranker.json`` next to the weights.

    Attributes:
        layout: How prompt and answer share the window.
        max_tokens: Window in tokens, special tokens included.
        network: Combines the features to a score.
        temperature: Divides the margin between the first two before the sigmoid of the confidence.
        model_sha256: Digest of ``model.int8.onnx``.
    """

    layout: SegmentLayout
    max_tokens: int
    network: FeatureNetwork
    temperature: float
    model_sha256: str

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EmbeddedSettings:
        """Build from decoded JSON.

        Raises:
            CheckpointError: A field is missing or of the wrong type; export the ranker again.
        """
        try:
            settings = cls(
                layout=SegmentLayout(**data["layout"]),
                max_tokens=int(data["max_tokens"]),
                network=_network(data),
                temperature=float(data["temperature"]),
                model_sha256=str(data["model_sha256"]),
            )
            # nan, too
            if settings.max_tokens < 1 or not settings.temperature > 0:
                raise ValueError(
                    f"max_tokens is {settings.max_tokens} and temperature {settings.temperature}, not above 0"
                )
            return settings
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"ranker.json cannot be used ({type(error).__name__}: {error}); export the ranker again"
            ) from error


def _network(data: dict[str, Any]) -> FeatureNetwork:
    if "network" in data:
        return FeatureNetwork.from_dict(data["network"])
    # format 1: a weighted sum
    return FeatureNetwork.weighted(
        encoder=float(data["model_weight"]),
        overlap=float(data["overlap_weight"]),
        final_answer=float(data["final_answer_weight"]),
    )


class EmbeddedRanker:
    """Ranks with the embedded cross-encoder. Safe to call from several threads.

    Create one with :meth:`load`.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        tokenizer: The tokenizer that belongs to it.
        settings: The settings that belong to it.
        sentence_encoder: Says how well answers fit the prompt; ``None`` if the settings' network does not ask.
        name: Shown in its rankings; it tells apart the score scales of different trainings.

    Examples:
        >>> ranker = EmbeddedRanker.load()
        >>> ranking = ranker.rank("Name the capital of France.", ["Paris.", "A banana is a yellow fruit."])
        >>> ranking.best, ranking.ranker
        (0, 'embedded')
    """

    def __init__(
        self,
        session: Any,
        tokenizer: Tokenizer,
        settings: EmbeddedSettings,
        *,
        sentence_encoder: SentenceEncoder | None = None,
        name: str = "embedded",
    ) -> None:
        if sentence_encoder is None and settings.network.needs_similarity:
            raise ConfigurationError(
                "this ranker weighs how well an answer fits the prompt; give sentence_encoder=SentenceEncoder.load()"
            )
        self._session = session
        self._tokenizer = tokenizer
        self._settings = settings
        self._sentence_encoder = sentence_encoder
        self.name = name

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int = 1) -> EmbeddedRanker:
        """Load the weights.

        Args:
            path: Folder with ``model.int8.onnx``, ``tokenizer.json`` and ``ranker.json``; ``None`` for the
                ones in the package.
            threads: Threads for one forward pass.

        Returns:
            The ranker. Its name is ``"embedded"``; with ``path``, the first digits of the model's sha256 follow.

        Raises:
            CheckpointError: A file is missing or damaged.
            ConfigurationError: ``threads`` is below 1.
        """
        check_number("threads", threads, least=1, whole=True)
        folder: Traversable = (
            importlib.resources.files("blender_core.rank") / "embedded_weights" if path is None else Path(path)
        )
        try:
            settings_text = (folder / "ranker.json").read_text(encoding="utf-8")
            model = (folder / "model.int8.onnx").read_bytes()
            tokenizer_text = (folder / "tokenizer.json").read_text(encoding="utf-8")
            settings = EmbeddedSettings.from_dict(read_json(settings_text))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"the embedded ranker in {folder} cannot be read: {error}; install the package again, or give the "
                "folder of an exported ranker"
            ) from error
        digest = hashlib.sha256(model).hexdigest()
        if digest != settings.model_sha256:
            raise CheckpointError(
                f"{folder}/model.int8.onnx has sha256 {digest}, ranker.json says {settings.model_sha256}; "
                "install the package again"
            )
        encoder = SentenceEncoder.load(threads=threads) if settings.network.needs_similarity else None
        if encoder is not None and path is None:
            tokenizer = encoder.tokenizer
        else:
            tokenizer = read_tokenizer(tokenizer_text, f"{folder}/tokenizer.json")
            # "[SEP]" in a text stays plain text, so no text can fake a segment
            tokenizer.encode_special_tokens = True
        return cls(
            open_session(model, source=f"{folder}/model.int8.onnx", threads=threads),
            tokenizer,
            settings,
            sentence_encoder=encoder,
            name="embedded" if path is None else f"embedded-{digest[:8]}",
        )

    @property
    def settings(self) -> EmbeddedSettings:
        """The settings in use."""
        return self._settings

    def with_session(self, session: Any) -> EmbeddedRanker:
        """Copy the ranker with another session, for example of the float32 model.

        Args:
            session: An ``onnxruntime.InferenceSession`` with the same inputs and output.

        Returns:
            A new ranker; this one is unchanged.
        """
        return EmbeddedRanker(
            session, self._tokenizer, self._settings, sentence_encoder=self._sentence_encoder, name=self.name
        )

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank the candidates; see ``Ranker.rank``.

        ``comparisons[i][j]`` is the score of i minus that of j, in logits; positive: i is better.

        Raises:
            RankerError: The model gave a number that is not finite.
        """
        distinct = distinct_candidates(candidates)
        if not distinct.texts:
            return Ranking.from_scores(distinct.spread_scores([]), ranker=self.name)
        measures = self.measure(prompt, distinct.texts)
        raw = self._settings.network.scores(answer_features(prompt, distinct, measures))
        # rounded, so that scores that differ only by the order of summing tie
        scores = [round(float(score), 6) for score in raw]
        matrix = [[first - second for second in scores] for first in scores]
        return Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self.name,
            comparisons=distinct.spread_matrix(matrix),
            temperature=self._settings.temperature,
            cut=distinct.spread_cut(dict(measures.cut)),
        )

    def measure(self, prompt: str, texts: Sequence[str], *, similarity: bool | None = None) -> TextMeasures:
        """Ask both encoders.

        Args:
            prompt: The prompt.
            texts: Answers, none blank; at least one.
            similarity: Whether to ask the sentence encoder; ``None`` if the network needs it. Without it the
                similarities are 0.

        Returns:
            What they say.

        Raises:
            RankerError: A model gave a number that is not finite.
        """
        import numpy as np

        prompt_ids, answer_ids = self._encode(prompt), [self._encode(text) for text in texts]
        encoder, cut = self._score(prompt_ids, answer_ids)
        cosines = np.zeros((len(texts) + 1, len(texts) + 1))
        if similarity or (similarity is None and self._settings.network.needs_similarity):
            vectors = self._vectors([prompt, *texts], [prompt_ids, *answer_ids])
            # sums of products, not a matrix product: a pair's cosine must not depend on the other texts
            cosines = (vectors[:, None, :] * vectors[None, :, :]).sum(axis=2)
        return TextMeasures(
            encoder=np.array(encoder),
            similarity=cosines[0, 1:],
            likeness=cosines[1:, 1:],
            lengths=np.array([float(len(ids)) for ids in answer_ids]),
            prompt_length=len(prompt_ids),
            cut=cut,
        )

    def _vectors(self, texts: Sequence[str], ids: Sequence[list[int]]) -> Vectors:
        encoder = self._sentence_encoder or SentenceEncoder.load()
        # a text is tokenised once for both encoders, unless a trained ranker has words of its own
        return encoder.encode_ids(ids, texts) if encoder.tokenizer is self._tokenizer else encoder(texts)

    def score(self, prompt: str, texts: Sequence[str]) -> tuple[list[float], dict[int, int]]:
        """Compute the cross-encoder's own scores. A text's score does not depend on the other texts.

        Args:
            prompt: The prompt.
            texts: Answers, none blank.

        Returns:
            A score for each text (higher is better), and the tokens cut by index. -1 is the prompt; texts that fit are
            left out.

        Raises:
            RankerError: The model gave a number that is not finite.
        """
        return self._score(self._encode(prompt), [self._encode(text) for text in texts])

    def _score(self, prompt: list[int], answers: Sequence[list[int]]) -> tuple[list[float], dict[int, int]]:
        rows = [self._settings.layout.join(prompt, answer, self._settings.max_tokens) for answer in answers]
        cut = {index: row.answer_cut for index, row in enumerate(rows) if row.answer_cut}
        prompt_cut = max((row.prompt_cut for row in rows), default=0)
        if prompt_cut:
            cut[-1] = prompt_cut
        return [self._forward(row) for row in rows], cut

    def _encode(self, text: str) -> list[int]:
        stop_if_given_up()
        return word_ids(self._tokenizer, text)

    def _forward(self, row: SegmentedText) -> float:
        import numpy as np

        # one row in a pass: int8 scales and padding would make a score depend on its neighbours, and cost more
        stop_if_given_up()
        ids = np.array([row.token_ids], dtype=np.int64)
        kinds = np.zeros_like(ids)
        kinds[0, row.answer_start :] = 1
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": kinds}
        score = float(self._session.run(None, feeds)[0][0])
        if not np.isfinite(score):
            raise RankerError(
                f"the embedded ranker gave {score} for a candidate, which cannot be ordered; use "
                "ranker='consensus' for this prompt, and report the texts"
            )
        return score

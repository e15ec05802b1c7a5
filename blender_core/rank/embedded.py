"""Rank with the embedded int8 cross-encoder, run by onnxruntime without torch.

One pass over ``[CLS] prompt [SEP] answer [SEP]`` scores one candidate (MiniLM-L6 encoder, the mean hidden state of
each segment, a small head). Agreement among the candidates is added with weights fitted on held-out training
prompts. The logit that one candidate is better than another is the difference of their scores. Swapping them negates
it, so there is no position bias. ``docs/ranker.md`` reports the quality, the model card next to the weights the
training data.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.models.onnx import open_session
from blender_core.models.segments import SegmentedText, SegmentLayout
from blender_core.models.tokenizers import read_tokenizer, token_ids
from blender_core.rank.lexical_consensus import measure_agreement
from blender_core.runtime.threads import stop_if_given_up
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["EmbeddedRanker", "EmbeddedSettings"]


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """The contents of ``ranker.json`` next to the weights.

    Attributes:
        layout: How prompt and answer share the window.
        max_tokens: Window in tokens, special tokens included.
        model_weight: Factor of the cross-encoder's output in a score.
        overlap_weight: Factor of the mean word overlap with the other candidates.
        final_answer_weight: Factor of the share of other candidates with the same final answer.
        temperature: Divides the margin between the first two before the sigmoid of the confidence.
        model_sha256: Digest of ``model.int8.onnx``.
    """

    layout: SegmentLayout
    max_tokens: int
    model_weight: float
    overlap_weight: float
    final_answer_weight: float
    temperature: float
    model_sha256: str

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EmbeddedSettings:
        """Build from decoded JSON.

        Raises:
            CheckpointError: A field is missing or of the wrong type; export the ranker again.
        """
        try:
            return cls(
                layout=SegmentLayout(**data["layout"]),
                max_tokens=int(data["max_tokens"]),
                model_weight=float(data["model_weight"]),
                overlap_weight=float(data["overlap_weight"]),
                final_answer_weight=float(data["final_answer_weight"]),
                temperature=float(data["temperature"]),
                model_sha256=str(data["model_sha256"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"ranker.json cannot be used ({type(error).__name__}: {error}); export the ranker again"
            ) from error


class EmbeddedRanker:
    """Ranks with the embedded cross-encoder. Safe to call from several threads.

    Create one with :meth:`load`.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        tokenizer: The tokenizer that belongs to it.
        settings: The settings that belong to it.
        tokens_per_batch: Most padded tokens in one forward pass; bounds the memory.
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
        tokens_per_batch: int = 4096,
        name: str = "embedded",
    ) -> None:
        if tokens_per_batch < 1:
            raise ConfigurationError(f"tokens_per_batch={tokens_per_batch}: must be at least 1")
        self._session = session
        self._tokenizer = tokenizer
        self._settings = settings
        self._tokens_per_batch = tokens_per_batch
        self.name = name

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int = 1, tokens_per_batch: int = 4096) -> EmbeddedRanker:
        """Load the weights.

        Args:
            path: Folder with ``model.int8.onnx``, ``tokenizer.json`` and ``ranker.json``; ``None`` for the
                ones in the package.
            threads: Threads for one forward pass.
            tokens_per_batch: Most padded tokens in one forward pass; bounds the memory.

        Returns:
            The ranker. Its name is ``"embedded"``; with ``path``, the first digits of the model's sha256 follow.

        Raises:
            CheckpointError: A file is missing or damaged.
            ConfigurationError: ``threads`` or ``tokens_per_batch`` is below 1.
        """
        if threads < 1:
            raise ConfigurationError(f"threads={threads}: must be at least 1")
        folder: Traversable = (
            importlib.resources.files("blender_core.rank") / "embedded_weights" if path is None else Path(path)
        )
        try:
            settings_text = (folder / "ranker.json").read_text(encoding="utf-8")
            model = (folder / "model.int8.onnx").read_bytes()
            tokenizer_text = (folder / "tokenizer.json").read_text(encoding="utf-8")
            settings = EmbeddedSettings.from_dict(json.loads(settings_text))
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
        tokenizer = read_tokenizer(tokenizer_text, f"{folder}/tokenizer.json")
        # "[SEP]" in a text stays plain text, so no text can fake a segment
        tokenizer.encode_special_tokens = True
        return cls(
            open_session(model, source=f"{folder}/model.int8.onnx", threads=threads),
            tokenizer,
            settings,
            tokens_per_batch=tokens_per_batch,
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
            session, self._tokenizer, self._settings, tokens_per_batch=self._tokens_per_batch, name=self.name
        )

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank the candidates; see ``Ranker.rank``.

        ``comparisons[i][j]`` is the score of i minus that of j, in logits; positive: i is better.

        Raises:
            RankerError: The model gave a number that is not finite.
        """
        distinct = distinct_candidates(candidates)
        raw, cut = self.score(prompt, distinct.texts)
        agreement = measure_agreement(distinct)
        settings = self._settings
        scores = [
            # rounded, so that scores do not depend on the shape of the batch
            round(
                settings.model_weight * value
                + settings.overlap_weight * agreement.overlap[index]
                + settings.final_answer_weight * agreement.final[index],
                6,
            )
            for index, value in enumerate(raw)
        ]
        matrix = [[first - second for second in scores] for first in scores]
        return Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self.name,
            comparisons=distinct.spread_matrix(matrix),
            temperature=settings.temperature,
            cut=distinct.spread_cut(cut),
        )

    def score(self, prompt: str, texts: Sequence[str]) -> tuple[list[float], dict[int, int]]:
        """Compute the cross-encoder's own scores, without agreement.

        Args:
            prompt: The prompt.
            texts: Answers, none blank.

        Returns:
            A score for each text (higher is better), and the tokens cut by index. -1 is the prompt; texts that fit are
            left out.

        Raises:
            RankerError: The model gave a number that is not finite.
        """
        prompt_ids = self._encode(prompt)
        rows = [self._settings.layout.join(prompt_ids, self._encode(text), self._settings.max_tokens) for text in texts]
        cut = {index: row.answer_cut for index, row in enumerate(rows) if row.answer_cut}
        prompt_cut = max((row.prompt_cut for row in rows), default=0)
        if prompt_cut:
            cut[-1] = prompt_cut
        return self._forward(rows), cut

    def _encode(self, text: str) -> list[int]:
        stop_if_given_up()
        # surrogates cannot be encoded as UTF-8 and would make the tokenizer fail
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return token_ids(self._tokenizer, clean)

    def _forward(self, rows: Sequence[SegmentedText]) -> list[float]:
        import numpy as np

        scores = [0.0] * len(rows)
        # by length for little padding, then by content: int8 scales depend on the batch, which must not depend on the
        # caller's order
        order = sorted(range(len(rows)), key=lambda index: (-len(rows[index].token_ids), rows[index].token_ids))
        start = 0
        while start < len(order):
            width = len(rows[order[start]].token_ids)
            part = order[start : start + max(1, self._tokens_per_batch // width)]
            start += len(part)
            stop_if_given_up()
            ids = np.zeros((len(part), width), dtype=np.int64)
            mask, kinds = np.zeros_like(ids), np.zeros_like(ids)
            for line, index in enumerate(part):
                row = rows[index]
                length = len(row.token_ids)
                ids[line, :length] = row.token_ids
                mask[line, :length] = 1
                kinds[line, row.answer_start : length] = 1
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
            output = self._session.run(None, feeds)[0]
            if not np.isfinite(output).all():
                raise RankerError(
                    f"the embedded ranker gave {output.tolist()} for {len(part)} candidates, which cannot be ordered; "
                    "use ranker='consensus' for this prompt, and report the texts"
                )
            for line, index in enumerate(part):
                scores[index] = float(output[line])
        return scores

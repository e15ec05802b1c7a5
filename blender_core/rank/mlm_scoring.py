"""Rank by MLM scoring: the likelihood of each token given all others.

Pseudo-log-likelihood (Salazar et al. 2020, "Masked Language Model Scoring", equation 2): each token of the candidate
is masked once, and the log-probabilities of the true tokens are added up.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from blender_core.errors import CheckpointError, RankerError
from blender_core.models.encoder_inputs import tokens_cut
from blender_core.models.loading import EncoderOptions, load_encoder, takes_load_options
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    from blender_core.models.encoder import EncoderModel
    from blender_core.models.encoder_inputs import EncoderInput

__all__ = ["MLMScoringRanker"]

_MASKS = ("[MASK]", "<mask>")
# rows with one masked token each that are built at a time; bounds the memory
_ROWS_AT_ONCE = 64


class MLMScoringRanker:
    """Scores a candidate by its pseudo-log-likelihood given the prompt; needs no labels.

    It costs one forward pass for each token of each candidate, far more than any other ranker. Fluent and common
    wording wins, not the right answer: in the LLM-Blender paper it is worse than chance (Table 2).

    Create one with ``from_pretrained``. Safe to call from several threads.

    Args:
        model: The loaded masked language model.
        per_token: Divide by the number of tokens (the log of an inverse pseudo-perplexity). Without it, short
            candidates win nearly always.
        name: Shown in results.

    Raises:
        CheckpointError: The tokenizer has no mask token.
    """

    def __init__(self, model: EncoderModel, *, per_token: bool = True, name: str = "mlm-scoring") -> None:
        self._model = model
        self._per_token = per_token
        self.name = name
        for mask in _MASKS:
            try:
                self._mask_id = model.tokenizer.control_id(mask)
            except CheckpointError:
                continue
            return
        raise CheckpointError(f"the tokenizer has none of {', '.join(_MASKS)}; use a masked language model")

    @classmethod
    @takes_load_options(EncoderOptions, token_budget=2048)
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        per_token: bool = True,
        name: str = "mlm-scoring",
        **load: Unpack[EncoderOptions],
    ) -> MLMScoringRanker:
        """Load a masked language model such as ``FacebookAI/roberta-base``.

        A model that hides its output layer from ``get_output_embeddings`` needs more memory: its logits take
        ``token_budget * vocabulary`` numbers.

        Args:
            name_or_path: A folder or a hub repository.
            per_token: Divide by the number of tokens.
            name: Shown in results.
            **load: Load options; see ``blender_core.models.loading.EncoderOptions``.

        Returns:
            The ranker.

        Raises:
            CheckpointError: The checkpoint is no masked language model.
            BlendError: It cannot be downloaded or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        model = load_encoder("AutoModelForMaskedLM", name_or_path, load, feature="MLMScoringRanker.from_pretrained")
        return cls(model, per_token=per_token, name=name)

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by pseudo-log-likelihood; see ``Ranker.rank``.

        Scores are natural logarithms, at most 0; higher is more likely. They do not measure quality, so the confidence
        is 0.5 if several candidates compete.
        """
        distinct = distinct_candidates(candidates)
        rows = [self._model.tokenizer.pair(prompt, text, self._model.max_tokens) for text in distinct.texts]
        scores = self._scores(rows)
        return Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self.name,
            confidence=0.5 if len(rows) > 1 else None,
            temperature=math.inf,
            cut=distinct.spread_cut(tokens_cut(rows)),
        )

    def token_scores(self, prompt: str, candidate: str) -> list[float]:
        """Compute the log-probability of each token of a candidate, given everything else.

        Args:
            prompt: The prompt.
            candidate: The candidate.

        Returns:
            One number for each token that fits the window.

        Raises:
            RankerError: The model failed.
        """
        row = self._model.tokenizer.pair(prompt, candidate, self._model.max_tokens)
        return self._token_scores([row])[0]

    def _scores(self, rows: Sequence[EncoderInput]) -> list[float]:
        scores = []
        for parts in self._token_scores(rows):
            score = math.fsum(parts) / (max(1, len(parts)) if self._per_token else 1)
            if not math.isfinite(score):
                raise RankerError(f"{self.name} gave {score}, which cannot be ordered; load it with dtype='float32'")
            # rounded, because the last digits depend on the batch
            scores.append(round(score, 6))
        return scores

    def _token_scores(self, rows: Sequence[EncoderInput]) -> list[list[float]]:
        parts: list[list[float]] = [[0.0] * (row.answer[1] - row.answer[0]) for row in rows]
        for places, masked in self._masked(rows):
            positions = [rows[row].answer[0] + token for row, token in places]
            for batch, logits in self._model.logits_at(masked, positions):
                targets = [rows[places[index][0]].ids[positions[index]] for index in batch]
                chosen = logits.log_softmax(-1)[list(range(len(batch))), targets].tolist()
                for index, value in zip(batch, chosen, strict=True):
                    row, token = places[index]
                    parts[row][token] = float(value)
        return parts

    def _masked(self, rows: Sequence[EncoderInput]) -> Iterator[tuple[list[tuple[int, int]], list[EncoderInput]]]:
        """Copy the rows with one token of the answer masked in each, in chunks."""
        every = [
            (row, token) for row, framed in enumerate(rows) for token in range(framed.answer[1] - framed.answer[0])
        ]
        for start in range(0, len(every), _ROWS_AT_ONCE):
            places = every[start : start + _ROWS_AT_ONCE]
            masked = []
            for row, token in places:
                ids = list(rows[row].ids)
                ids[rows[row].answer[0] + token] = self._mask_id
                masked.append(replace(rows[row], ids=ids))
            yield places, masked

"""Run pairs through the network: device, dtype, batches, errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from blender_core.errors import CheckpointError
from blender_core.models.batches import CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET, run_in_halves
from blender_core.models.devices import resolve_device, resolve_dtype
from blender_core.rank.pairrm.checkpoint import load_model
from blender_core.rank.pairrm.deberta import DebertaEncoder
from blender_core.rank.pairrm.model import BackboneShape, PairRankerModel
from blender_core.rank.pairrm.packed import PackedDeberta
from blender_core.rank.pairrm.settings import PairRankerSettings
from blender_core.rank.pairrm.tokens import EncodedPair, PairTokenizer, batched_logits, check_vocabulary, pad

__all__ = ["PairScorer", "load_scorer"]


class PairScorer:
    """Runs a network on its device. Safe to use from several threads.

    Args:
        model: The network, already on its device.
        pad_id: Id that fills short sequences.
        token_budget: Most tokens in a batch, padding included; default 512 on a CPU, 16,384 elsewhere.
    """

    def __init__(self, model: PairRankerModel, pad_id: int, token_budget: int | None = None) -> None:
        self._model = model
        self._pad_id = pad_id
        self._device = next(model.parameters()).device
        default = CPU_TOKEN_BUDGET if self._device.type == "cpu" else GPU_TOKEN_BUDGET
        self._token_budget = token_budget or default
        encoder = getattr(model, "pretrained_model", None)
        self._packed, self._projections = None, None
        if self._device.type == "cpu" and isinstance(encoder, DebertaEncoder):
            self._packed = PackedDeberta(encoder)
        else:
            with torch.inference_mode():
                self._projections = model.relative_projections()

    @property
    def window(self) -> int | None:
        """Most tokens of a pair; ``None`` if positions are relative and there is no limit."""
        shape = self._model.shape
        return shape.window if isinstance(shape, BackboneShape) else None

    @property
    def model(self) -> PairRankerModel:
        """The network."""
        return self._model

    def logits(self, pairs: Sequence[EncodedPair]) -> list[float]:
        """Compute the logit of each ordered pair; positive means the left candidate is better.

        Args:
            pairs: Any number of pairs.

        Returns:
            One finite float for each pair.

        Raises:
            RankerError: The network gave ``nan`` or an infinity, or one pair alone does not fit in memory.
        """
        precision = str(next(self._model.parameters()).dtype)
        return batched_logits(pairs, self._token_budget, self._run, precision)

    def _run(self, pairs: Sequence[EncodedPair]) -> list[float]:
        def too_large(pair: EncodedPair) -> str:
            return (
                f"a pair of {len(pair.ids)} tokens does not fit in the memory of {self._device}; "
                "lower source_max_length and candidate_max_length, or use device='cpu'"
            )

        return [logit for _, part in run_in_halves(pairs, self._forward, too_large) for logit in part]

    def _forward(self, pairs: Sequence[EncodedPair]) -> list[float]:
        if self._packed is not None:
            with torch.inference_mode():
                hidden = self._packed([pair.ids for pair in pairs], [pair.positions for pair in pairs])
                left, right = self._model.scores_of(hidden)
            return [float(logit) for logit in (left - right).mean(-1).float().tolist()]
        ids, mask, positions = (torch.from_numpy(part).to(self._device) for part in pad(pairs, self._pad_id))
        with torch.inference_mode():
            logits = self._model(ids, mask.bool(), positions, self._projections)
        return [float(logit) for logit in logits.float().tolist()]


def load_scorer(
    folder: Path,
    settings: PairRankerSettings,
    tokenizer: PairTokenizer,
    *,
    device: str = "auto",
    dtype: str = "auto",
    token_budget: int | None = None,
) -> PairScorer:
    """Load a checkpoint folder onto a device.

    Args:
        folder: The checkpoint.
        settings: Its config.
        tokenizer: Its tokenizer.
        device: ``"auto"`` or a torch device.
        dtype: ``"auto"`` or a torch dtype's name.
        token_budget: Most tokens in a batch.

    Returns:
        The scorer.

    Raises:
        CheckpointError: The tensors do not fit, or the tokenizer knows more ids than the network.
        ConfigurationError: The device or dtype is unknown.
    """
    place = resolve_device(device)
    precision = resolve_dtype(dtype, place)
    model = load_model(folder, settings)
    check_vocabulary(tokenizer, model.shape.vocab_size, str(folder))
    if settings.marker_ids is not None and dict(tokenizer.marker_ids) != dict(settings.marker_ids):
        raise CheckpointError(
            f"{folder}: tokenizer.json has the markers {dict(tokenizer.marker_ids)}, config.json "
            f"{dict(settings.marker_ids)}"
        )
    model.to(device=place, dtype=precision)
    return PairScorer(model, tokenizer.pad_id, token_budget)

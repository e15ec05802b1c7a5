"""The pair form: prompt and both candidates in one sequence, the paper's PairRanker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blender_core.errors import ConfigurationError
from blender_core.models.batches import token_batches
from blender_core.rank.pairrm.model import BackboneShape, PairRankerModel
from blender_core.rank.pairrm.tokens import EncodedPair, EncodedText, PairTokenizer
from blender_lab.ranker.architecture import Sides, freeze_layers, in_order
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.sampling import Group
from blender_lab.training.precision import forward_precision, mixed_precision

__all__ = ["JointForm", "pair_lengths"]


def pair_lengths(window: int, prompt_share: float) -> tuple[int, int]:
    """Room of prompt and candidate in a window.

    Args:
        window: Tokens of a whole pair.
        prompt_share: Share of the prompt where all three texts are too long.

    Returns:
        ``source_max_length`` and ``candidate_max_length`` of a ``PairRanker``.

    Raises:
        ConfigurationError: The window is too small for three texts.

    Examples:
        >>> pair_lengths(2048, 0.6)
        (1229, 409)
    """
    source = round(window * prompt_share)
    candidate = (window - source) // 2
    if min(source, candidate) < 4:
        raise ConfigurationError(
            f"a window of {window} tokens leaves {source} for the prompt and {candidate} for a candidate; give 4 each"
        )
    return source, candidate


class JointForm:
    """Scores a pair in one pass over prompt, left and right candidate.

    Args:
        model: The network, on its device.
        tokenizer: Its tokenizer.
        config: Learning rates, batches, precision and windows are read.

    Raises:
        ConfigurationError: A window of the run is too small, or longer than the encoder's.
    """

    reads_order = True

    def __init__(self, model: PairRankerModel, tokenizer: PairTokenizer, config: RankerTrainingConfig) -> None:
        longest = model.shape.window if isinstance(model.shape, BackboneShape) else None
        if longest is not None and config.largest_window > longest:
            raise ConfigurationError(f"max_tokens is {config.largest_window}; the encoder reads at most {longest}")
        for stage in config.stages:
            pair_lengths(stage.max_tokens, config.prompt_share)
        self.model = model
        self.tokenizer = tokenizer
        self._config = config
        self._precision = forward_precision(config, next(model.parameters()).device)
        # what the tokenizer puts around any text
        self._source = tokenizer.source("", 8).ids
        self._candidate = tokenizer.candidate("", 8).ids

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.model

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, without what stands around them in a pair."""
        longest = 1 << 30
        return [list(self.tokenizer.candidate(_clean(text), longest).ids[2:-1]) for text in texts]

    def sides(self, groups: Sequence[Group], window: int) -> Sides:
        """Score both sides of every pair; see ``Architecture.sides``."""
        pairs = [pair for group in groups for pair in self._pairs(group, window)]
        device = next(self.model.parameters()).device
        order: list[int] = []
        results: list[Tensor] = []
        for part in token_batches([len(pair.ids) for pair in pairs], self._config.tokens_per_batch):
            order += part
            width = len(pairs[part[0]].ids)
            ids = torch.full((len(part), width), self.tokenizer.pad_id, dtype=torch.long)
            mask = torch.zeros((len(part), width), dtype=torch.bool)
            for line, index in enumerate(part):
                length = len(pairs[index].ids)
                ids[line, :length] = torch.tensor(pairs[index].ids)
                mask[line, :length] = True
            positions = torch.tensor([pairs[index].positions for index in part])
            with mixed_precision(device, self._precision):
                left, right = self.model.side_scores(ids.to(device), mask.to(device), positions.to(device))
            results.append(torch.stack([left.float().mean(-1), right.float().mean(-1)], dim=-1))
        both = in_order(results, order)
        return Sides(both[:, 0], both[:, 1], len(pairs))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Encoder and head, each with its rate.

        With frozen embeddings the rows of the markers are trained all the same: they are new.
        """
        config = self._config
        encoder = self.model.pretrained_model
        table: nn.Parameter | None = None
        if config.freeze_embeddings:
            for name, parameter in encoder.named_parameters():
                parameter.requires_grad_(not name.startswith("embeddings."))
            table = _word_embeddings(encoder)
            table.requires_grad_(True)
            kept = torch.zeros(len(table), 1, device=table.device)
            kept[list(self.tokenizer.marker_ids.values())] = 1.0
            table.register_hook(lambda gradient: gradient * kept)  # type: ignore[no-untyped-call]
        freeze_layers(encoder, config.freeze_layers)
        trained = [p for p in encoder.parameters() if p.requires_grad and p is not table]
        head = list(self.model.head_layer.parameters())
        groups: list[dict[str, Any]] = [
            {"params": trained, "lr": config.learning_rate, "peak": config.learning_rate},
            {"params": head, "lr": config.head_learning_rate, "peak": config.head_learning_rate},
        ]
        if table is not None:
            rate = config.head_learning_rate
            # decay would move the frozen rows
            groups.append({"params": [table], "lr": rate, "peak": rate, "weight_decay": 0.0})
        return groups

    def _pairs(self, group: Group, window: int) -> list[EncodedPair]:
        source_length, candidate_length = pair_lengths(window, self._config.prompt_share)
        source = _framed(self._source, group.prompt, source_length)
        # the room that the prompt leaves, as the ranker itself shares it out
        room = candidate_length + (source_length - len(source.ids)) // 2
        answers = [_framed(self._candidate, answer, room) for answer in group.answers]
        return [self.tokenizer.pair(source, answers[i], answers[j]) for i, j, _, _ in group.pairs]


def _framed(frame: Sequence[int], ids: Sequence[int], length: int) -> EncodedText:
    """A text in its frame ``[CLS] marker ... [SEP]``, cut at its right end."""
    kept = ids[: length - len(frame)]
    return EncodedText((*frame[:2], *kept, *frame[2:]), len(ids) - len(kept))


def _word_embeddings(encoder: nn.Module) -> nn.Parameter:
    return next(
        parameter
        for name, parameter in encoder.named_parameters()
        if name in ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight")
    )


def _clean(text: str) -> str:
    # surrogates cannot be encoded as UTF-8 and would stop the tokenizer
    return text.encode("utf-8", "replace").decode("utf-8")

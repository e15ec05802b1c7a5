"""Examples as token ids: the input exactly as `GenFuser` writes it, and the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from blender_core.fuse.gen_fuser_prompt import FusionLayout, fit
from blender_lab.fuser.examples import FusionExample, FusionExamples

__all__ = ["EncodedExamples", "ExampleEncoder", "collate_causal", "collate_seq2seq"]

_IGNORED = -100


@dataclass(frozen=True, slots=True)
class ExampleEncoder:
    """Turns an example into ids.

    Attributes:
        layout: How the model's input is written.
        encode_target: Ids of a target text, without special tokens.
        end: Id that ends a target.
        max_length: Most tokens of the input.
        candidate_max_length: Most tokens of one candidate; ``None`` for no limit of its own.
        target_max_length: Most tokens of the target, its end included.
    """

    layout: FusionLayout
    encode_target: Callable[[str], list[int]]
    end: int
    max_length: int
    candidate_max_length: int | None
    target_max_length: int

    def input_ids(self, example: FusionExample) -> list[int]:
        """Ids of the input; those that `GenFuser` makes of the same texts."""
        fitted = fit(
            self.layout,
            example.prompt,
            example.candidates,
            window=self.max_length,
            candidate_max_length=self.candidate_max_length,
        )
        return fitted.ids

    def target_ids(self, example: FusionExample) -> list[int]:
        """Ids of the target.

        A target that is too long is cut and gets no end: the model must not learn to stop in mid-sentence.
        """
        ids = [*self.encode_target(example.target), self.end]
        return ids[: self.target_max_length]


class EncodedExamples(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Encoded examples for transformers' ``Trainer``; encoded once, when first asked for.

    Args:
        examples: The examples.
        encoder: Encodes them.
    """

    def __init__(self, examples: FusionExamples, encoder: ExampleEncoder) -> None:
        self._examples = examples
        self._encoder = encoder
        self._known: dict[int, dict[str, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        if number not in self._known:
            example = self._examples[number]
            self._known[number] = {
                "input_ids": self._encoder.input_ids(example),
                "target_ids": self._encoder.target_ids(example),
            }
        return self._known[number]


def collate_causal(rows: Sequence[dict[str, list[int]]], *, pad: int, keep_logits: bool = True) -> dict[str, Any]:
    """Batch for a decoder-only model: input and target in one row, padded on the left.

    Args:
        rows: Encoded examples.
        pad: Id to pad with; it is masked.
        keep_logits: Ask the model for the logits of the targets only (``logits_to_keep``): all targets end at the
            right edge, and the head over a large vocabulary is not spent on the inputs.

    Returns:
        ``input_ids``, ``attention_mask``, ``position_ids`` and ``labels`` of shape (rows, tokens); with
        ``keep_logits`` the labels are those of the last columns only.
    """
    width = max(len(row["input_ids"]) + len(row["target_ids"]) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, _IGNORED)
    for line, row in enumerate(rows):
        both = [*row["input_ids"], *row["target_ids"]]
        ids[line, width - len(both) :] = torch.tensor(both)
        mask[line, width - len(both) :] = 1
        labels[line, width - len(row["target_ids"]) :] = torch.tensor(row["target_ids"])
    batch: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
        "labels": labels,
    }
    if keep_logits:
        # one more than the longest target: the last token of the input foretells the first of the target
        kept = min(width, max(len(row["target_ids"]) for row in rows) + 1)
        batch |= {"labels": labels[:, width - kept :], "logits_to_keep": kept}
    return batch


def collate_seq2seq(rows: Sequence[dict[str, list[int]]], *, pad: int) -> dict[str, Any]:
    """Batch for an encoder-decoder model, padded on the right.

    Args:
        rows: Encoded examples.
        pad: Id to pad with; it is masked.

    Returns:
        ``input_ids`` and ``attention_mask`` of shape (rows, input tokens), ``labels`` of (rows, target tokens).
    """
    inputs = [torch.tensor(row["input_ids"]) for row in rows]
    targets = [torch.tensor(row["target_ids"]) for row in rows]
    stack = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": stack(inputs, batch_first=True, padding_value=pad),
        "attention_mask": stack([torch.ones_like(row) for row in inputs], batch_first=True),
        "labels": stack(targets, batch_first=True, padding_value=_IGNORED),
    }

"""Run a pretrained encoder: batches, forward passes, errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch

from blender_core.errors import RankerError
from blender_core.models.batches import run_in_halves, token_batches
from blender_core.models.encoder_inputs import EncoderInput, EncoderTokenizer
from blender_core.runtime.numbers import check_number

__all__ = ["EncoderModel"]

# of this thread's forward pass: the wanted positions, and the padded length of a row
_WANTED: ContextVar[tuple[torch.Tensor, int] | None] = ContextVar("wanted positions", default=None)


class EncoderModel:
    """Runs a model with its tokenizer. Safe to use from several threads.

    Args:
        model: A transformers model, on its device.
        tokenizer: Its tokenizer.
        max_tokens: Context window in tokens, special tokens included.
        token_budget: Most tokens in a forward pass, padding included.

    Raises:
        ConfigurationError: ``max_tokens`` is below 8 or ``token_budget`` below 1.
    """

    def __init__(self, model: Any, tokenizer: EncoderTokenizer, *, max_tokens: int, token_budget: int) -> None:
        check_number("max_tokens", max_tokens, least=8, whole=True)
        check_number("token_budget", token_budget, least=1, whole=True)
        self._model = model.eval()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self._token_budget = token_budget
        self._segments = getattr(model.config, "type_vocab_size", 0) or 0
        self._pad_id = model.config.pad_token_id or 0
        output_layer = model.get_output_embeddings()
        if output_layer is not None:
            output_layer.register_forward_pre_hook(_only_wanted)

    @property
    def config(self) -> Any:
        """The transformers config."""
        return self._model.config

    def run(self, rows: Sequence[EncoderInput]) -> Iterator[tuple[list[int], Any, torch.Tensor]]:
        """Run forward passes over batches of similar length.

        Args:
            rows: Encoded texts.

        Yields:
            Indices of a batch, the model's output for it, and its attention mask ``[batch, tokens]``.

        Raises:
            RankerError: One row alone does not fit in memory, or the model failed.
        """
        for batch in token_batches([len(row.ids) for row in rows], self._token_budget):
            yield from self._halving(batch, rows)

    def logits_at(
        self, rows: Sequence[EncoderInput], positions: Sequence[int]
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Compute the logits of one token of each text.

        The output layer dominates the cost of a small masked language model, so it runs for that token only.

        Args:
            rows: Encoded texts.
            positions: Position of the token in each text.

        Yields:
            Indices of a batch, and its logits ``[batch, vocabulary]`` in float32.

        Raises:
            RankerError: As from ``run``.
        """
        for part in token_batches([len(row.ids) for row in rows], self._token_budget):
            for batch, output, _ in self._halving(part, rows, positions):
                logits = output.logits
                # an output layer that cannot be narrowed returns the logits of all positions
                places = [positions[index] if logits.shape[1] > 1 else 0 for index in batch]
                yield batch, logits[list(range(len(batch))), places].float()

    def values(self, rows: Sequence[EncoderInput], read: Callable[[torch.Tensor], torch.Tensor]) -> list[float]:
        """Compute one number for each text from its logits.

        Args:
            rows: Encoded texts.
            read: Maps the logits ``[batch, labels]`` in float32 to numbers ``[batch]``.

        Returns:
            The numbers, in the order of the texts.

        Raises:
            RankerError: As from ``run``.
        """
        values = [math.nan] * len(rows)
        for batch, output, _ in self.run(rows):
            for index, value in zip(batch, read(output.logits.float()).tolist(), strict=True):
                values[index] = float(value)
        return values

    def _halving(
        self, batch: Sequence[int], rows: Sequence[EncoderInput], positions: Sequence[int] | None = None
    ) -> Iterator[tuple[list[int], Any, torch.Tensor]]:
        def run(part: Sequence[int]) -> tuple[Any, torch.Tensor]:
            wanted = None
            if positions is not None:
                length = max(len(rows[index].ids) for index in part)
                wanted = torch.tensor([positions[index] for index in part]), length
            before = _WANTED.set(wanted)
            try:
                return self._forward([rows[index] for index in part])
            except torch.cuda.OutOfMemoryError:
                raise
            except (IndexError, RuntimeError, ValueError) as error:
                raise RankerError(
                    f"the model failed on {len(part)} texts of up to {len(rows[part[0]].ids)} tokens: {error}"
                ) from error
            finally:
                _WANTED.reset(before)

        def too_large(index: int) -> str:
            return (
                f"a text of {len(rows[index].ids)} tokens does not fit in the memory of {self._model.device}; "
                "lower max_tokens, or use device='cpu'"
            )

        for part, (output, mask) in run_in_halves(batch, run, too_large):
            yield list(part), output, mask

    def _forward(self, rows: Sequence[EncoderInput]) -> tuple[Any, torch.Tensor]:
        length = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), length), self._pad_id, dtype=torch.long)
        mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            mask[number, : len(row.ids)] = 1
            segments[number, : len(row.ids)] = torch.tensor(row.segments)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._segments > 1:
            inputs["token_type_ids"] = segments
        place = self._model.device
        with torch.inference_mode():
            output = self._model(**{name: value.to(place) for name, value in inputs.items()})
        return output, mask.to(place)


def _only_wanted(layer: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Narrow an output layer's input ``[batch, tokens, width]`` to one token of each row."""
    wanted = _WANTED.get()
    if wanted is None or not inputs:
        return None
    states, (positions, length) = inputs[0], wanted
    # input of another shape was split or narrowed before
    if states.shape[:2] != (len(positions), length):
        return None
    return (states[torch.arange(len(positions)), positions.to(states.device)].unsqueeze(1), *inputs[1:])

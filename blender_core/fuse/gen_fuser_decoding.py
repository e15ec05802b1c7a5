"""Runs a generation model: whole, or id by id."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

from blender_core.errors import FusionError

__all__ = ["generate", "stream_ids"]


def generate(model: Any, ids: Sequence[int], options: Mapping[str, Any]) -> list[int]:
    """Generate.

    Args:
        model: A transformers model.
        ids: The input.
        options: Arguments of ``generate``.

    Returns:
        The new ids, without the input, the decoder's start token and pads.

    Raises:
        FusionError: The device ran out of memory, or the model failed.
    """
    batch = torch.tensor([list(ids)], device=model.device)
    try:
        with torch.inference_mode():
            output = model.generate(input_ids=batch, attention_mask=torch.ones_like(batch), **options)[0].tolist()
    except torch.cuda.OutOfMemoryError as error:
        raise FusionError(
            f"an input of {len(ids)} tokens does not fit in the memory of {model.device}; lower max_length, num_beams "
            "or max_new_tokens"
        ) from error
    except Exception as error:
        raise FusionError(f"the model failed: {type(error).__name__}: {error}") from error
    new = output[1:] if model.config.is_encoder_decoder else output[len(ids) :]
    pad = model.generation_config.pad_token_id
    while new and new[-1] == pad:
        new.pop()
    return [int(token_id) for token_id in new]


def stream_ids(model: Any, ids: Sequence[int], options: Mapping[str, Any]) -> Iterator[int]:
    """Generate in a thread and hand over each id as it comes.

    Args:
        model: A transformers model.
        ids: The input.
        options: Arguments of ``generate``; one beam only.

    Yields:
        New ids. When the iterator is closed the model stops after its current step, and the thread ends.

    Raises:
        FusionError: As in ``generate``.
    """
    pieces: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def run() -> None:
        try:
            generate(model, ids, {**options, "streamer": _Queue(pieces), "stopping_criteria": [_Stop(stopped)]})
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)

    thread = threading.Thread(target=run, name="gen-fuser", daemon=True)
    thread.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        stopped.set()
        thread.join()


class _Queue:
    """Receives ids from ``generate``."""

    def __init__(self, pieces: queue.SimpleQueue[int | BaseException | None]) -> None:
        self._pieces = pieces
        self._input_seen = False

    def put(self, value: torch.Tensor) -> None:
        # the first call brings the input, or the decoder's start token
        if self._input_seen:
            for token_id in value.flatten().tolist():
                self._pieces.put(int(token_id))
        self._input_seen = True

    def end(self) -> None:
        """The end is marked by the thread itself, after errors had their chance."""


class _Stop(StoppingCriteria):
    """A stopping criterion that another thread sets."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.full((len(input_ids),), self._stopped.is_set(), device=input_ids.device, dtype=torch.bool)

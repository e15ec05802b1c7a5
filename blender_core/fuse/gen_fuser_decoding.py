"""Run a generation model in batches, or id by id."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria

from blender_core.errors import FusionError
from blender_core.redaction import told
from blender_core.runtime.threads import ComputingThread, stop_if_given_up

__all__ = ["WrittenIds", "finish_reason", "generate_batch", "stream_ids"]


@dataclass(frozen=True, slots=True)
class WrittenIds:
    """Holds the output of a model for one input.

    Attributes:
        ids: New ids, without the input, the decoder's start token and padding.
        finish_reason: As from :func:`finish_reason`.
    """

    ids: list[int]
    finish_reason: str | None


def finish_reason(model: Any, options: Mapping[str, Any], ids: Sequence[int]) -> str | None:
    """Return why a text ended.

    Args:
        model: A transformers model.
        options: Arguments of ``generate``.
        ids: New ids, the one that ended the text included.

    Returns:
        ``"stop"`` if the model ended it, ``"length"`` if ``max_new_tokens`` or ``max_time`` did, ``None`` if
        a stopping criterion of the options may have.
    """
    if not _end_ids(model, options).isdisjoint(ids):
        return "stop"
    criteria = options.get("stop_strings") or options.get("stopping_criteria")
    return None if criteria and len(ids) != options.get("max_new_tokens") else "length"


def _end_ids(model: Any, options: Mapping[str, Any]) -> frozenset[int]:
    """Return the ids that end a text: the options', else the model's."""
    settings = (options.get("generation_config"), model.generation_config)
    stated = [options.get("eos_token_id"), *(getattr(one, "eos_token_id", None) for one in settings)]
    end = next((one for one in stated if one is not None), ())
    return frozenset(int(one) for one in torch.as_tensor(end).flatten().tolist())


def generate_batch(
    model: Any,
    rows: Sequence[Sequence[int]],
    options: Mapping[str, Any],
    *,
    stopped: Callable[[list[int]], bool] | None = None,
) -> list[WrittenIds]:
    """Generate for several inputs at once.

    Args:
        model: A transformers model.
        rows: The inputs. A decoder-only model gets shorter ones padded on the left, others on the right.
        options: Arguments of ``generate``; one sequence returned for each input.
        stopped: Tells from the new ids of a sequence whether it ends here.

    Returns:
        The output for each input.

    Raises:
        FusionError: The device ran out of memory, or the model failed.
    """
    pad = model.generation_config.pad_token_id
    eos = _end_ids(model, options)
    width = max(map(len, rows))
    causal = not model.config.is_encoder_decoder
    batch = torch.full((len(rows), width), pad or 0, dtype=torch.long)
    mask = torch.zeros_like(batch)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if causal else slice(0, len(row))
        batch[number, place] = torch.tensor(list(row))
        mask[number, place] = 1
    begin = width if causal else 1
    criteria = [*(options.get("stopping_criteria") or ()), _GivenUp()]
    if stopped is not None:
        criteria.append(_StopText(begin, stopped))
    try:
        with torch.inference_mode():
            output = model.generate(
                input_ids=batch.to(model.device),
                attention_mask=mask.to(model.device),
                **{**options, "stopping_criteria": criteria},
            ).tolist()
    except torch.cuda.OutOfMemoryError as error:
        raise FusionError(
            f"{len(rows)} inputs of up to {width} tokens do not fit in the memory of {model.device}; lower batch_size, "
            "max_length, num_beams or max_new_tokens"
        ) from error
    except Exception as error:
        raise FusionError(f"the model failed: {told(error)}") from error
    if len(output) != len(rows):
        raise FusionError(f"the model wrote {len(output)} texts for {len(rows)} inputs; set num_return_sequences to 1")
    results = []
    for sequence in output:
        new = [int(token_id) for token_id in sequence[begin:]]
        # beam search fills up with eos if the pad id is 0
        ends = [place for place, token_id in enumerate(new) if token_id in eos]
        new = new[: ends[0] + 1] if ends else new
        reason = finish_reason(model, options, new)
        while new and new[-1] == pad:
            new.pop()
        results.append(WrittenIds(new, reason))
    return results


def stream_ids(model: Any, ids: Sequence[int], options: Mapping[str, Any]) -> Generator[int, None, None]:
    """Generate in a thread and yield each id as it comes.

    Args:
        model: A transformers model.
        ids: The input.
        options: Arguments of ``generate``; one beam only.

    Yields:
        New ids. If the iterator is closed, the model stops after its current step, and the thread ends.

    Raises:
        FusionError: As in ``generate_batch``.
    """
    pieces: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            generate_batch(model, [ids], {**options, "streamer": _Queue(pieces)})
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)

    thread = ComputingThread(run, name="gen-fuser")
    thread.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        thread.given_up.set()
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
        """Do nothing: the thread marks the end, after it has reported errors."""


class _GivenUp(StoppingCriteria):
    """Stops generation if nobody waits for the result."""

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        stop_if_given_up()
        return torch.zeros(len(input_ids), device=input_ids.device, dtype=torch.bool)


class _StopText(StoppingCriteria):
    """Ends each sequence by its new ids."""

    def __init__(self, begin: int, stopped: Callable[[list[int]], bool]) -> None:
        self._begin = begin
        self._stopped = stopped

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        ended = [self._stopped(ids) for ids in input_ids[:, self._begin :].tolist()]
        return torch.tensor(ended, device=input_ids.device, dtype=torch.bool)

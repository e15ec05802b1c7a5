"""What the backends share: batches of similar length under a token budget, padding, and the check of the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from blender_core.computing_thread import stop_if_given_up
from blender_core.errors import CheckpointError, RankerError
from blender_core.rank.pairrm.tokens import EncodedPair, PairTokenizer

__all__ = [
    "CPU_TOKEN_BUDGET",
    "GPU_TOKEN_BUDGET",
    "PairBatch",
    "batched_logits",
    "check_vocabulary",
    "pad",
    "token_batches",
]

# a batch of one long pair is faster on a CPU than many padded ones; a GPU wants work to share
CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET = 512, 16384

Ints = npt.NDArray[np.int64]


class PairBatch(NamedTuple):
    """Padded pairs.

    Attributes:
        ids: Token ids, shape [batch, length].
        mask: 1 at tokens, 0 at pads, shape [batch, length].
        positions: Places of the three markers, shape [batch, 3].
    """

    ids: Ints
    mask: Ints
    positions: Ints


def token_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Group sequences so that little is padded and no batch is larger than the budget.

    Args:
        lengths: Tokens of each sequence.
        token_budget: Most tokens in a batch, pads included. A longer sequence gets a batch of its own.

    Yields:
        Indices into ``lengths``, longest first, so that memory runs out at once or not at all. Ends with a
        ``BlendError`` where the call in whose thread this runs is over.

    Examples:
        >>> list(token_batches([3, 9, 4, 8], token_budget=18))
        [[1, 3], [2, 0]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > token_budget:
            yield batch
            stop_if_given_up()
            batch = []
        batch.append(index)
    if batch:
        yield batch


def pad(pairs: Sequence[EncodedPair], pad_id: int) -> PairBatch:
    """Put pairs into arrays, pads at the end.

    Args:
        pairs: At least one.
        pad_id: Id that fills short sequences.

    Returns:
        The arrays.
    """
    shape = (len(pairs), max(len(pair.ids) for pair in pairs))
    ids, mask = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair.ids)] = pair.ids
        mask[row, : len(pair.ids)] = 1
    return PairBatch(ids, mask, np.array([pair.positions for pair in pairs], dtype=np.int64))


def batched_logits(
    pairs: Sequence[EncodedPair],
    token_budget: int,
    run: Callable[[Sequence[EncodedPair]], Sequence[float]],
    precision: str,
) -> list[float]:
    """Run pairs in batches and check what comes out.

    Args:
        pairs: Any number of pairs.
        token_budget: Most tokens in a batch, pads included.
        run: Gives the logits of one batch.
        precision: What the network computes in, for the message.

    Returns:
        One finite float for each pair, in the order of ``pairs``.

    Raises:
        RankerError: The network gave ``nan`` or an infinity.
    """
    logits = [math.nan] * len(pairs)
    for batch in token_batches([len(pair.ids) for pair in pairs], token_budget):
        for index, logit in zip(batch, run([pairs[index] for index in batch]), strict=True):
            logits[index] = float(logit)
    wrong = [logit for logit in logits if not math.isfinite(logit)]
    if wrong:
        raise RankerError(
            f"{len(wrong)} of {len(pairs)} comparisons are not finite ({wrong[0]} in {precision}); "
            "load the checkpoint with dtype='float32'"
        )
    return logits


def check_vocabulary(tokenizer: PairTokenizer, rows: int, source: str) -> None:
    """Refuse a tokenizer with ids that the network has no embedding for.

    Args:
        tokenizer: The tokenizer.
        rows: Rows of the network's word embeddings.
        source: Where both came from, for the message.

    Raises:
        CheckpointError: There is such an id.
    """
    if tokenizer.largest_id >= rows:
        raise CheckpointError(
            f"{source}: the tokenizer has ids up to {tokenizer.largest_id}, the network {rows} embeddings; "
            "tokenizer.json belongs to another checkpoint"
        )

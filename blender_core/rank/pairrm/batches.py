"""Batches of similar length under a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["token_batches"]


def token_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Group sequences so that little is padded and no batch is larger than the budget.

    Args:
        lengths: Tokens of each sequence.
        token_budget: Most tokens in a batch, pads included. A longer sequence gets a batch of its own.

    Yields:
        Indices into ``lengths``, longest first, so that memory runs out at once or not at all.

    Example:
        >>> list(token_batches([3, 9, 4, 8], token_budget=18))
        [[1, 3], [2, 0]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch

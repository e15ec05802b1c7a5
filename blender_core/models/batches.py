"""Group token sequences into batches of similar length, under a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blender_core.runtime.threads import stop_if_given_up

__all__ = ["CPU_TOKEN_BUDGET", "GPU_TOKEN_BUDGET", "token_batches"]

# a batch of one long pair is faster on a CPU than many padded ones; a GPU wants work to share
CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET = 512, 16384


def token_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Group sequences so that little is padded and no batch is larger than the budget.

    Args:
        lengths: Tokens of each sequence.
        token_budget: Most tokens in a batch, pads included. A longer sequence gets a batch of its own.

    Yields:
        Indices into ``lengths``, longest first, so that memory runs out at once or not at all. Ends with a
        ``BlendError`` if the call in whose thread this runs is over.

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

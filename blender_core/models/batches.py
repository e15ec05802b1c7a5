"""Group token sequences into batches of similar length, within a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from blender_core.errors import RankerError
from blender_core.runtime.threads import stop_if_given_up

__all__ = ["CPU_TOKEN_BUDGET", "GPU_TOKEN_BUDGET", "run_in_halves", "token_batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# a CPU is faster with little padding, a GPU with large batches
CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET = 512, 16384


def token_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Group sequences into batches with little padding, none above the budget.

    Args:
        lengths: Tokens of each sequence.
        token_budget: Most tokens in a batch, padding included. A longer sequence gets its own batch.

    Yields:
        Indices into ``lengths``, longest sequence first, so that too little memory shows in the first batch. Raises
        ``BlendError`` if the call that this thread serves has ended.

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


def run_in_halves(
    batch: Sequence[Item], run: Callable[[Sequence[Item]], Result], too_large: Callable[[Item], str]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """Run a batch; if the GPU runs out of memory, run its halves.

    Args:
        batch: At least one item.
        run: Runs some of them.
        too_large: Returns the error message if one item alone does not fit.

    Yields:
        The parts that ran, in order, and their results.

    Raises:
        RankerError: One item alone does not fit.
    """
    import torch

    try:
        result = run(batch)
    except torch.cuda.OutOfMemoryError as error:
        if len(batch) == 1:
            raise RankerError(too_large(batch[0])) from error
    else:
        yield batch, result
        return
    # outside of the handler, whose traceback keeps the failed pass in memory
    middle = len(batch) // 2
    yield from run_in_halves(batch[:middle], run, too_large)
    yield from run_in_halves(batch[middle:], run, too_large)

"""Run a causal network on rows that begin alike; the beginning is computed once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

__all__ = ["forward_rows", "is_causal", "read_prefix"]


def is_causal(network: torch.nn.Module) -> bool:
    """Tell if no token of a network sees a later one, so that a beginning can be shared.

    Args:
        network: A transformers model.

    Returns:
        ``False`` if an attention layer sees both directions, or none says what it sees.
    """
    found = [bool(module.is_causal) for module in network.modules() if hasattr(module, "is_causal")]
    return bool(found) and all(found)


def read_prefix(network: Any, ids: Sequence[int]) -> dict[str, Any]:
    """Compute the keys and values of a beginning.

    Args:
        network: A causal transformers model.
        ids: Token ids of the beginning, at least one.

    Returns:
        An argument of the network; empty if it keeps no keys and values, or more than these.
    """
    from transformers import DynamicCache

    with torch.inference_mode():
        output = network(input_ids=torch.tensor([list(ids)], device=network.device), use_cache=True)
    # transformers renames past_key_values to cache, in the output and in the call
    caches = {name: value for name, value in output.items() if isinstance(value, DynamicCache)}
    return {} if any(map(_has_other_states, caches.values())) else caches


def _has_other_states(cache: Any) -> bool:
    """Tell if layers keep more than keys and values: the states of linear attention cannot be repeated for each row."""
    return any(
        hasattr(layer, "conv_states") or not hasattr(layer, "batch_repeat_interleave")
        for layer in getattr(cache, "layers", ())
    )


def forward_rows(
    network: Any, rows: Sequence[Sequence[int]], *, read: Mapping[str, Any], pad: int = 0, **options: Any
) -> Any:
    """Run one forward pass, padded on the right.

    Args:
        network: A transformers model.
        rows: Token ids behind the beginning, each at least one.
        read: The beginning, from `read_prefix`; empty if the rows are whole.
        pad: Token id that fills up short rows.
        **options: More arguments of the network.

    Returns:
        The network's output; row n belongs to ``rows[n]``.
    """
    ids = torch.full((len(rows), max(map(len, rows))), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for line, row in enumerate(rows):
        ids[line, : len(row)] = torch.tensor(row)
        mask[line, : len(row)] = 1
    # a copy, because a forward pass modifies it
    read = copy.deepcopy(dict(read))
    for cache in read.values():
        cache.batch_repeat_interleave(len(rows))
        mask = torch.cat([mask.new_ones(len(rows), cache.get_seq_length()), mask], dim=1)
    place = network.device
    with torch.inference_mode():
        return network(input_ids=ids.to(place), attention_mask=mask.to(place), **read, **options)

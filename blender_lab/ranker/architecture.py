"""What the training loop trains: a network that scores both sides of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from blender_core.errors import ConfigurationError
from blender_lab.ranker.sampling import Group

__all__ = ["Architecture", "Sides", "freeze_layers", "in_order"]


@dataclass(frozen=True, slots=True)
class Sides:
    """Scores of the two candidates of every pair of some groups.

    Attributes:
        left: Shape (pairs,), float32, one group after another.
        right: Same shape.
        rows: Sequences that went through the encoder.
    """

    left: torch.Tensor
    right: torch.Tensor
    rows: int


class Architecture(Protocol):
    """A network with the way it reads prompts and candidates."""

    @property
    def module(self) -> nn.Module:
        """All that is trained and kept in checkpoints."""

    @property
    def reads_order(self) -> bool:
        """Whether the scores depend on which candidate is on the left."""

    def sides(self, groups: Sequence[Group], window: int) -> Sides:
        """Score both sides of every pair.

        Args:
            groups: The groups.
            window: Most tokens of a row.

        Returns:
            The scores.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups, each with ``params``, ``lr`` and ``peak``."""


def in_order(parts: Sequence[torch.Tensor], order: Sequence[int]) -> torch.Tensor:
    """Put results of batches back into the order of the rows.

    Args:
        parts: Results of the batches, one after another.
        order: Index of the row behind each result.

    Returns:
        The results, result n for row n.

    Examples:
        >>> in_order([torch.tensor([3, 1]), torch.tensor([2])], [2, 0, 1]).tolist()
        [1, 2, 3]
    """
    joined = torch.cat(list(parts))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(list(order), dtype=torch.long)] = torch.arange(len(order))
    return joined[back.to(joined.device)]


def freeze_layers(encoder: nn.Module, count: int) -> None:
    """Leave the lowest layers of an encoder as they are.

    Args:
        encoder: A Hugging Face encoder; layers are the members of its first list of modules.
        count: How many, from the bottom.

    Raises:
        ConfigurationError: The encoder has not that many layers.
    """
    if count == 0:
        return
    layers = next((module for module in encoder.modules() if isinstance(module, nn.ModuleList)), nn.ModuleList())
    if not 0 < count <= len(layers):
        raise ConfigurationError(f"freeze_layers is {count}; this encoder has {len(layers)} layers")
    for layer in layers[:count]:
        layer.requires_grad_(False)

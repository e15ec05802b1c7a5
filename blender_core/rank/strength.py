"""Ask a member prior who is strong, whatever object the user gave as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from blender_core.errors import ConfigurationError
from blender_core.types.ranking import Ranking

__all__ = ["Prior", "preference", "strongest_first"]


class Prior(Protocol):
    """Knows how strong each member is.

    Two more methods are used if they exist: ``strongest_first(members)`` returns the names, the strongest first;
    members of equal or unknown strength keep their order. ``preference(first, second)`` returns the probability that
    the first member's answer is better, 0.5 if nothing is known.
    """

    def blend(self, members: Sequence[str], ranking: Ranking, texts: Sequence[str], /) -> Ranking:
        """Blend the strengths into a ranking."""

    def observe(self, members: Sequence[str], ranking: Ranking, /) -> None:
        """Learn from a ranking, before any blending."""


def strongest_first(prior: Any, members: Sequence[str]) -> tuple[str, ...]:
    """Order members by strength.

    Args:
        prior: A ``Prior``, or ``None``.
        members: Names, in the order in which the members were given.

    Returns:
        The names, the strongest first; in the given order if the prior cannot say.

    Raises:
        ConfigurationError: The prior named others, or one twice; it must return the given names.
    """
    order = getattr(prior, "strongest_first", None)
    if order is None:
        return tuple(members)
    ordered = tuple(order(tuple(members)))
    if sorted(ordered) != sorted(members):
        raise ConfigurationError(f"strongest_first returned {ordered!r} for the members {tuple(members)!r}")
    return ordered


def preference(prior: Any, first: str, second: str) -> float | None:
    """Return the probability that the first member's answer is better, ``None`` if the prior cannot say.

    Args:
        prior: A ``Prior``, or ``None``.
        first: Name of a member.
        second: Name of another.

    Returns:
        The probability, in [0, 1].

    Raises:
        ConfigurationError: The prior returned no probability.
    """
    ask = getattr(prior, "preference", None)
    if ask is None or first == second:
        return None
    found = float(ask(first, second))
    if not 0.0 <= found <= 1.0:
        raise ConfigurationError(f"preference({first!r}, {second!r}) is {found}; it must be in [0, 1]")
    return found

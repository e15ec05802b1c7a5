"""Say what an answer cost."""

from __future__ import annotations

import math
from numbers import Real

from blender_core.errors import MemberError
from blender_core.members.member import Member
from blender_core.types.answer import Answer, Usage

__all__ = ["cost_of"]


def cost_of(member: Member, answer: Answer) -> float | None:
    """Return an answer's cost: as reported, else price times usage, else ``None``.

    Args:
        member: The member that wrote it.
        answer: The answer.

    Returns:
        The cost, in the currency of the member's price; ``None`` if it is unknown.

    Raises:
        MemberError: The answer's usage or cost cannot be counted.
    """
    _check_figures(answer.usage, answer.cost)
    if answer.cost is not None:
        return answer.cost
    if member.price is None or answer.usage is None:
        return None
    return member.price.cost(answer.usage)


def _check_figures(usage: object, cost: object) -> None:
    """Reject figures that cannot be added up: a later error would end the call."""
    if usage is not None and not (
        isinstance(usage, Usage) and isinstance(usage.input_tokens, Real) and isinstance(usage.output_tokens, Real)
    ):
        raise MemberError(f"the answer's usage is {usage!r}; give a Usage with numbers, or None")
    if cost is not None and not (isinstance(cost, Real) and math.isfinite(cost)):
        raise MemberError(f"the answer's cost is {cost!r}; give a number, or None")

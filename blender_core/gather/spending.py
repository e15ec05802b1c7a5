"""Count the tokens and the cost of one call against its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from blender_core.errors import ConfigurationError, MemberError
from blender_core.gather.policy import Budget
from blender_core.members.member import Member
from blender_core.types.answer import Answer, Usage

__all__ = ["Spending"]

_CHARACTERS_PER_TOKEN = 4


class Spending:
    """Adds up tokens and cost during one call.

    It is not thread-safe: use it in one event loop.

    Args:
        budget: The limits; ``None`` is no limit.
        members: The ensemble; if the cost is limited, each needs a price.

    Raises:
        ConfigurationError: The cost is limited and a member has no price.
    """

    def __init__(self, budget: Budget | None, members: Sequence[Member]) -> None:
        unpriced = [member.name for member in members if member.price is None]
        if budget is not None and budget.max_cost is not None and unpriced:
            raise ConfigurationError(
                f"max_cost={budget.max_cost} cannot be kept: no price for {', '.join(unpriced)}; "
                "give each member a Price, or use max_tokens"
            )
        self._budget = budget
        self._tokens = 0
        self._cost = 0.0

    def reserve(self, member: Member, prompt_text: str) -> Usage:
        """Reserve the prompt's estimated tokens for a call that starts now; see ``settle``."""
        estimate = Usage(input_tokens=len(prompt_text) // _CHARACTERS_PER_TOKEN)
        self._tokens += estimate.total_tokens
        self._cost += _price_of(member, estimate)
        return estimate

    def settle(self, member: Member, reserved: Usage, answer: Answer) -> None:
        """Replace a reservation by the answer's usage and cost.

        A figure that the answer lacks keeps the estimate.

        Raises:
            MemberError: The answer's usage or cost cannot be counted; nothing is replaced.
        """
        cost = cost_of(member, answer)
        if answer.usage is not None:
            self._tokens += answer.usage.total_tokens - reserved.total_tokens
        if cost is not None:
            self._cost += cost - _price_of(member, reserved)

    def exhausted(self) -> str | None:
        """Return why no further call may start, or ``None`` if one may."""
        budget = self._budget
        if budget is None:
            return None
        if budget.max_tokens is not None and self._tokens >= budget.max_tokens:
            return f"budget: {self._tokens} of {budget.max_tokens} tokens are spent or reserved"
        if budget.max_cost is not None and self._cost >= budget.max_cost:
            return f"budget: {self._cost:.6g} of {budget.max_cost:.6g} cost is spent or reserved"
        return None


def cost_of(member: Member, answer: Answer) -> float | None:
    """Return an answer's cost: as reported, else price times usage, else ``None``.

    Raises:
        MemberError: The answer's usage or cost cannot be counted.
    """
    _check_figures(answer.usage, answer.cost)
    if answer.cost is not None:
        return answer.cost
    if member.price is None or answer.usage is None:
        return None
    return member.price.cost(answer.usage)


def _price_of(member: Member, usage: Usage) -> float:
    return 0.0 if member.price is None else member.price.cost(usage)


def _check_figures(usage: object, cost: object) -> None:
    """Reject figures that cannot be added up: a later error would end the call."""
    if usage is not None and not (
        isinstance(usage, Usage) and isinstance(usage.input_tokens, Real) and isinstance(usage.output_tokens, Real)
    ):
        raise MemberError(f"the answer's usage is {usage!r}; give a Usage with numbers, or None")
    if cost is not None and not (isinstance(cost, Real) and math.isfinite(cost)):
        raise MemberError(f"the answer's cost is {cost!r}; give a number, or None")

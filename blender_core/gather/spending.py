"""What one call has spent so far, against its budget."""

from __future__ import annotations

from collections.abc import Sequence

from blender_core.answer import Answer, Usage
from blender_core.errors import ConfigurationError
from blender_core.gather.policy import Budget
from blender_core.members.member import Member

__all__ = ["Spending"]

_CHARACTERS_PER_TOKEN = 4


class Spending:
    """Adds up tokens and cost during one call. Belongs to one event loop, not to several threads.

    Args:
        budget: The cap, or ``None``.
        members: The ensemble; with a cost cap each needs a price.

    Raises:
        ConfigurationError: There is a cost cap and a member has no price.
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
        """Hold back the prompt's estimated tokens for a call that starts now; give it back with ``settle``."""
        estimate = Usage(input_tokens=len(prompt_text) // _CHARACTERS_PER_TOKEN)
        self._add(member, estimate, 1)
        return estimate

    def settle(self, member: Member, reserved: Usage, actual: Usage | None) -> None:
        """Replace a reservation by what the call really used; an unknown use keeps the estimate."""
        if actual is not None:
            self._add(member, reserved, -1)
            self._add(member, actual, 1)

    def exhausted(self) -> str | None:
        """Why nothing more may be started, or ``None`` while there is room."""
        budget = self._budget
        if budget is None:
            return None
        if budget.max_tokens is not None and self._tokens >= budget.max_tokens:
            return f"budget: {self._tokens} of {budget.max_tokens} tokens are spent or reserved"
        if budget.max_cost is not None and self._cost >= budget.max_cost:
            return f"budget: {self._cost:.6g} of {budget.max_cost:.6g} cost is spent or reserved"
        return None

    def _add(self, member: Member, usage: Usage, sign: int) -> None:
        self._tokens += sign * usage.total_tokens
        if member.price is not None:
            self._cost += sign * member.price.cost(usage)


def cost_of(member: Member, answer: Answer) -> float | None:
    """Cost of an answer: what the provider said, else price times usage, else unknown."""
    if answer.cost is not None:
        return answer.cost
    if member.price is None or answer.usage is None:
        return None
    return member.price.cost(answer.usage)

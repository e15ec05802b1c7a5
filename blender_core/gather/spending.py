"""Count the tokens and the cost of one call against its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from blender_core.errors import ConfigurationError
from blender_core.gather.policy import Budget
from blender_core.members.member import Member
from blender_core.members.returned import cost_of
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
        estimate = _estimate(prompt_text)
        self._tokens += estimate.total_tokens
        self._cost += _price_of(member, estimate)
        return estimate

    def settle(self, member: Member, reserved: Usage, answer: Answer) -> None:
        """Replace a reservation by the answer's usage and cost.

        Tokens that the answer does not report are estimated from the lengths of prompt and text.
        """
        cost = cost_of(member, answer)
        used = answer.usage or replace(reserved, output_tokens=_estimate(answer.text).input_tokens)
        self._tokens += used.total_tokens - reserved.total_tokens
        self._cost += (_price_of(member, used) if cost is None else cost) - _price_of(member, reserved)

    def add(self, usage: Usage) -> None:
        """Add the tokens of a server that has no price."""
        self._tokens += usage.total_tokens

    def why_too_dear(self, requests: Sequence[tuple[Member | None, str]]) -> str | None:
        """Tell why calls that are needed together do not fit; nothing is reserved.

        Args:
            requests: Whom to ask, ``None`` for a server without a price, and the text of the prompt.

        Returns:
            The reason; ``None`` if they fit.
        """
        budget = self._budget
        if budget is None:
            return None
        unpriced = sorted({member.name for member, _ in requests if member is not None and member.price is None})
        if budget.max_cost is not None and unpriced:
            return f"budget: max_cost={budget.max_cost} needs a price of {', '.join(unpriced)}; give it a Price"
        estimates = [(member, _estimate(text)) for member, text in requests]
        tokens = self._tokens + sum(estimate.total_tokens for _, estimate in estimates)
        cost = self._cost + sum(_price_of(member, estimate) for member, estimate in estimates)
        if budget.max_tokens is not None and tokens > budget.max_tokens:
            return (
                f"budget: about {tokens - self._tokens} tokens do not fit {budget.max_tokens}, {self._tokens} are spent"
            )
        if budget.max_cost is not None and cost > budget.max_cost:
            needed = cost - self._cost
            return f"budget: a cost of about {needed:.3g} does not fit {budget.max_cost:.6g}, {self._cost:.3g} is spent"
        return None

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


def _estimate(text: str) -> Usage:
    return Usage(input_tokens=math.ceil(len(text) / _CHARACTERS_PER_TOKEN))


def _price_of(member: Member | None, usage: Usage) -> float:
    return 0.0 if member is None or member.price is None else member.price.cost(usage)

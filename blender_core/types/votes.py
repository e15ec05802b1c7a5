"""Vote on tool calls; they are never fused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blender_core.text.unicode import normalize
from blender_core.types.answer import Answer, ToolCall

__all__ = ["ToolVote", "normalised_call", "vote_on_tool_calls"]

# a fixed limit, because the stack that is left differs between callers
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class ToolVote:
    """Holds the result of a vote.

    Attributes:
        winners: Indices of the answers that made the winning calls, in input order.
        votes: How many answers voted for them.
        voters: How many answers called tools.
        reason: The result as text.
        tied: All answers that made one of the tied sets of calls, in input order; empty if the vote is decided.
    """

    winners: tuple[int, ...]
    votes: int
    voters: int
    reason: str
    tied: tuple[int, ...] = ()


def vote_on_tool_calls(answers: Sequence[Answer]) -> ToolVote | None:
    """Let the answers vote on whether and how to call tools.

    Tools are called if at least half of the answers call one. The calls with the most votes win, compared
    by name and normalised arguments, in any order. If whole sets of calls tie, the set whose tool
    names have more support wins, then the earlier one; ``tied`` lets a ranker decide instead.

    Args:
        answers: At least one answer.

    Returns:
        The vote, or ``None`` if the answers are to be ranked as text.

    Examples:
        >>> a = Answer("", (ToolCall("add", {"a": 1, "b": 2}),))
        >>> b = Answer("", (ToolCall("add", {"b": 2.0, "a": " 1 "}),))
        >>> c = Answer("", (ToolCall("add", {"a": 3, "b": 2}),))
        >>> vote_on_tool_calls([c, a, b]).winners
        (1, 2)
    """
    ballots = {
        index: tuple(sorted(normalised_call(call) for call in answer.tool_calls))
        for index, answer in enumerate(answers)
        if answer.tool_calls
    }
    if 2 * len(ballots) < len(answers) or not ballots:
        return None
    by_calls: dict[tuple[tuple[str, str], ...], list[int]] = {}
    by_names: dict[tuple[str, ...], int] = {}
    for index, ballot in ballots.items():
        by_calls.setdefault(ballot, []).append(index)
        names = tuple(name for name, _ in ballot)
        by_names[names] = by_names.get(names, 0) + 1
    support = {
        ballot: (len(voters), by_names[tuple(name for name, _ in ballot)]) for ballot, voters in by_calls.items()
    }
    # in the order in which each was first cast
    best = [ballot for ballot, votes in support.items() if votes == max(support.values())]
    winning = best[0]
    winners = tuple(by_calls[winning])
    tied = tuple(sorted(index for ballot in best for index in by_calls[ballot])) if len(best) > 1 else ()
    tools = ", ".join(sorted(name for name, _ in winning))
    return ToolVote(
        winners,
        len(winners),
        len(ballots),
        f"{len(winners)} of {len(answers)} members called {tools} this way",
        tied,
    )


def normalised_call(call: ToolCall) -> tuple[str, str]:
    """Normalise a tool call, so that equivalent calls compare equal.

    Args:
        call: The call.

    Returns:
        Its name, and its arguments as canonical JSON: keys sorted, text in Unicode NFC with the ends
        stripped, numbers in their shortest form whether written as number or as text.

    Raises:
        ValueError: The arguments are nested deeper than 100 levels.
    """
    return call.name, json.dumps(_normalised(call.arguments), sort_keys=True, ensure_ascii=False, default=str)


def _normalised(value: Any, level: int = 0) -> Any:
    if level > _DEEPEST:
        raise ValueError(f"they are nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        return {str(key): _normalised(item, level + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normalised(item, level + 1) for item in value]
    if isinstance(value, int) or value is None:
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        text = normalize("NFC", value).strip()
        if re.fullmatch(r"-?(0|[1-9]\d{0,14})", text):
            return int(text)
        if re.fullmatch(r"-?(0|[1-9]\d{0,14})\.\d{1,15}", text):
            return _number(float(text))
        return text
    return value


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value

"""Check what a member returned, once, and say what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

from blender_core.errors import MemberError
from blender_core.members.member import Member
from blender_core.types.answer import Answer, ToolCall
from blender_core.types.returned import (
    checked_cost,
    checked_reason,
    checked_text,
    checked_usage,
    is_plain,
    plain_json,
)

__all__ = ["checked_answer", "checked_contents", "checked_figures", "cost_of"]


def checked_answer(member: Member, returned: object) -> Answer:
    """Check what a member returned.

    Args:
        member: The member.
        returned: What its ``generate`` returned.

    Returns:
        The answer, with plain numbers and JSON types.

    Raises:
        MemberError: It is no answer, or a part of it cannot be used; the message names the part.
    """
    return checked_contents(checked_figures(member, returned))


def checked_figures(member: Member, returned: object) -> Answer:
    """Check what is added up: tokens and cost; see ``checked_answer``."""
    if not isinstance(returned, Answer):
        raise MemberError(
            f"{member!r} returned {type(returned).__name__} instead of an Answer; mend its generate method"
        )
    try:
        return _with(returned, {"usage": checked_usage(returned.usage), "cost": checked_cost(returned.cost)})
    except (TypeError, ValueError, OverflowError) as error:
        raise MemberError(f"the answer's {error}") from error


def checked_contents(answer: Answer) -> Answer:
    """Check text, tool calls and what is said about them; see ``checked_answer``."""
    if not isinstance(answer.text, str):
        raise MemberError(f"the answer's text is {type(answer.text).__name__}, not str")
    try:
        return _with(
            answer,
            {
                "tool_calls": _calls(answer.tool_calls),
                "model": checked_text("model", answer.model),
                "finish_reason": checked_reason(answer.finish_reason),
                "refusal": checked_text("refusal", answer.refusal),
                "thoughts": checked_text("thoughts", answer.thoughts) or "",
                "logprobs": _logprobs(answer.logprobs),
            },
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise MemberError(f"the answer's {error}") from error


def cost_of(member: Member, answer: Answer) -> float | None:
    """Return an answer's cost: as reported, else price times usage, else ``None``.

    Args:
        member: The member that wrote it.
        answer: The answer, checked.

    Returns:
        The cost, in the currency of the member's price; ``None`` if it is unknown.
    """
    if answer.cost is not None:
        return answer.cost
    if member.price is None or answer.usage is None:
        return None
    return member.price.cost(answer.usage)


def _with(answer: Answer, parts: dict[str, Any]) -> Answer:
    """Put checked parts into an answer; one that is plain already stays the same object."""
    found = {name: getattr(answer, name) for name in parts}
    return answer if found == parts and is_plain(tuple(found.values())) else replace(answer, **parts)


def _calls(calls: object) -> tuple[ToolCall, ...]:
    if not isinstance(calls, tuple | list):
        raise ValueError(f"tool_calls are {type(calls).__name__}; give a tuple of ToolCall, () for none")
    return tuple(map(_call, calls))


def _call(call: object) -> ToolCall:
    if not isinstance(call, ToolCall):
        raise ValueError(f"tool_calls hold {type(call).__name__}; give a tuple of ToolCall")
    if not isinstance(call.name, str):
        raise ValueError(f"tool_calls name a tool by {type(call.name).__name__}, not str")
    if not isinstance(call.arguments, Mapping):
        raise ValueError(f"arguments of tool call {call.name!r} are {type(call.arguments).__name__}, not a mapping")
    try:
        arguments = plain_json(call.arguments)
    except ValueError as error:
        raise ValueError(f"arguments of tool call {call.name!r} cannot be used: {error}") from error
    return ToolCall(call.name, arguments, checked_text(f"id of tool call {call.name!r}", call.id))


def _logprobs(logprobs: object) -> tuple[tuple[str, Mapping[str, float]], ...]:
    """Keep the tokens; a likelihood that is no number is left out, because nobody needs all of them."""
    if not isinstance(logprobs, tuple | list):
        raise ValueError(f"logprobs are {type(logprobs).__name__}; give a tuple of tokens, () for none")
    return tuple(
        (str(token), {str(name): float(value) for name, value in likely.items() if isinstance(value, Real)})
        for token, likely in logprobs
    )

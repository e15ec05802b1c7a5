"""Select the answers to rank: accepted ones, and those that won a vote on tool calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from blender_core.redaction import told
from blender_core.types.answer import Answer, ToolCall
from blender_core.types.outcome import MemberOutcome
from blender_core.types.votes import vote_on_tool_calls

__all__ = [
    "Accept",
    "Selection",
    "arguments_problem",
    "check_answer",
    "check_is_quick",
    "quick_check",
    "set_aside",
    "tool_check",
]

Accept = Callable[[Answer], str | None]
"""A check of an answer: returns why it cannot be used, or ``None``."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Holds the answers that are still candidates.

    Attributes:
        outcomes: The members that wrote them, in the ensemble's order; at least one.
        set_aside: Member's index -> why its answer is no candidate, or would be none if any answer were acceptable.
        decided: The winner, if nothing is left to rank; else ``None``.
        reason: Why nothing will be fused, in words; empty if that is still open.
        problem: What degrades the result, in words; ``None`` if nothing does.
    """

    outcomes: tuple[MemberOutcome, ...]
    set_aside: Mapping[int, str]
    decided: MemberOutcome | None = None
    reason: str = ""
    problem: str | None = None


def tool_check(
    choice: Any,
    *,
    known: Collection[Any],
    call_problem: Callable[[ToolCall], str | None],
    text_problem: Callable[[str], str | None] = lambda _text: None,
) -> Accept:
    """Make the check of answers in a call with tools.

    Args:
        choice: ``"auto"``, ``"none"`` or ``None``; ``"any"`` or ``"required"``, which need a call; or a tool's name.
        known: Names of the tools; empty if any name may be called.
        call_problem: Returns what is wrong with one call of a known tool, or ``None``.
        text_problem: Returns what is wrong with an answer without calls, or ``None``.

    Returns:
        A check for ``Blender.blend(accept=...)``.
    """
    required = choice if choice not in (None, "auto", "none") else None

    def problem_of(call: ToolCall) -> str | None:
        if known and call.name not in known:
            return f"called {call.name}, which is not among the tools"
        return call_problem(call)

    def check(answer: Answer) -> str | None:
        if not answer.tool_calls:
            if required is not None:
                return f"answered in text where a tool call was required (tool_choice {required!r})"
            return text_problem(answer.text)
        problems = map(problem_of, answer.tool_calls)
        found = next((problem for problem in problems if problem is not None), None)
        if found is None and required in known and all(call.name != required for call in answer.tool_calls):
            return f"called {answer.tool_calls[0].name} where {required} was required"
        return found

    return check


def quick_check(accept: Accept) -> Accept:
    """Mark a check that only looks at an answer, so that the event loop can call it, without a thread.

    Examples:
        >>> check_is_quick(quick_check(lambda _answer: None)), check_is_quick(lambda _answer: None)
        (True, False)
    """
    accept.is_quick = True  # type: ignore[attr-defined]
    return accept


def check_is_quick(accept: Accept | None) -> bool:
    """Tell whether a check needs no thread."""
    return accept is None or getattr(accept, "is_quick", False)


def arguments_problem(call: ToolCall, schema: type[BaseModel]) -> str | None:
    """Return why a tool call does not fit the pydantic class of its arguments, or ``None``.

    Examples:
        >>> class Add(BaseModel):
        ...     a: int
        >>> arguments_problem(ToolCall("add", {"a": "x"}), Add)
        'add: a: Input should be a valid integer, unable to parse string as an integer'
    """
    try:
        schema.model_validate(dict(call.arguments))
    except ValidationError as error:
        first = error.errors()[0]
        return f"{call.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


def check_answer(accept: Accept | None, outcome: MemberOutcome) -> str | None:
    """Return why an answer cannot be used, or ``None``.

    Args:
        accept: The caller's check, or ``None`` to accept everything.
        outcome: A member's record.

    Returns:
        The reason. An exception of the check is one too.
    """
    if accept is None or outcome.answer is None:
        return None
    try:
        return _reason(accept(outcome.answer))
    except Exception as error:
        return f"accept raised {told(error)}"


def _reason(returned: object) -> str | None:
    if returned is None or isinstance(returned, str):
        return returned
    if inspect.iscoroutine(returned):
        returned.close()
    return f"accept returned {returned!r:.80}; return None for an answer that can be used, else the reason as a text"


def set_aside(answered: Sequence[MemberOutcome], problems: Mapping[int, str]) -> Selection:
    """Set aside answers that were not accepted, then let the rest vote on tool calls.

    Args:
        answered: The members that answered, in the ensemble's order; at least one.
        problems: Member's index -> why its answer was not accepted. If no answer was accepted, all stay, each with its
            reason.

    Returns:
        The answers that stay.
    """
    if len(problems) < len(answered):
        return _voted([outcome for outcome in answered if outcome.index not in problems], problems)
    selection = _voted(answered, {})
    reasons = "; ".join(f"{outcome.member}: {problems[outcome.index]}" for outcome in answered)
    problem = f"no answer was acceptable: {reasons}"
    return replace(selection, set_aside={**selection.set_aside, **problems}, problem=problem)


def _voted(left: Sequence[MemberOutcome], aside: Mapping[int, str]) -> Selection:
    """Let answers vote on tool calls; ``aside`` is kept."""
    vote = vote_on_tool_calls([_answer(outcome) for outcome in left])
    if vote is not None:
        winners = {left[position].index for position in vote.tied or vote.winners}
        outvoted = {outcome.index: "outvoted on tool calls" for outcome in left if outcome.index not in winners}
        # tied calls are ranked, and never fused
        chosen = None if vote.tied else left[vote.winners[0]]
        selection = tuple(outcome for outcome in left if outcome.index in winners)
        return Selection(selection, {**aside, **outvoted}, chosen, vote.reason)
    texts = tuple(outcome for outcome in left if not _answer(outcome).tool_calls)
    called = (outcome for outcome in left if _answer(outcome).tool_calls)
    aside = {**aside, **{outcome.index: "outvoted: most members answered in text" for outcome in called}}
    if len(texts) == 1:
        return Selection(texts, aside, texts[0], "a single answer")
    if not any(_answer(outcome).text.strip() for outcome in texts):
        return Selection(texts, aside, texts[0], "no answer holds text that could be ranked")
    return Selection(texts, aside)


def _answer(outcome: MemberOutcome) -> Answer:
    assert outcome.answer is not None
    return outcome.answer

"""Keep with a picked message what its members need back, and give each member its own in the next call.

Providers refuse a conversation in which a model's signed thoughts are missing, and one that holds another provider's.
So the message itself is neutral, and its additional keywords hold one entry for each member that needs more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, TextBlock, ThinkingBlock, ToolCallBlock
from pydantic import ValidationError

from blender_core.types.answer import Answer
from blender_core.types.result import BlendResult

__all__ = ["MEMBER_KEY", "OWN_TURNS", "own_turns", "turn_for"]

MEMBER_KEY = "blended_llm_member"
"""Marks a thought of a member in the blend's response."""

OWN_TURNS = "blend_own_turns"
"""The additional keyword: member's name -> what it needs back."""

# stated by the blocks of the message
_LEFT_OUT = ("function_call", "refusal", "tool_calls")


def own_turns(result: BlendResult) -> dict[str, Any]:
    """Collect what members need back of a picked answer.

    The member that wrote it gets its thoughts and additional keywords back. Any other member that called tools gets
    back the thoughts that its provider signed, because some providers refuse the result of a tool without them.

    Args:
        result: The result.

    Returns:
        Member's name -> its entry, of JSON types; empty if nobody needs anything, or if the text is fused.
    """
    if result.answer is None:
        return {}
    own: dict[str, Any] = {}
    for record in result.candidates:
        outcome = record.outcome
        is_winner = outcome.index == result.winner_index
        if outcome.answer is None or not (is_winner or (result.answer.tool_calls and outcome.answer.tool_calls)):
            continue
        entry = _entry(outcome.answer, whole=is_winner)
        if entry:
            own[outcome.member] = entry
    return own


def _entry(answer: Answer, *, whole: bool) -> dict[str, Any]:
    if not isinstance(answer.native, ChatResponse):
        return {}
    message = answer.native.message
    thoughts = [block for block in message.blocks if isinstance(block, ThinkingBlock)]
    dumped = [block.model_dump(mode="json") for block in thoughts if whole or block.additional_information]
    given = message.additional_kwargs if whole else {}
    keywords = {name: value for name, value in given.items() if name not in _LEFT_OUT and _is_json(value)}
    return {**({"thoughts": dumped} if dumped else {}), **({"keywords": keywords} if keywords else {})}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def turn_for(message: ChatMessage, member: str) -> ChatMessage:
    """Copy a message for one member: with its own thoughts, without those of others.

    Args:
        message: A message of a conversation; not changed.
        member: The member's name, unique in its blend.

    Returns:
        The copy. A message that no blend wrote keeps everything that is not an old form of its tool calls.
    """
    copied = message.model_copy(deep=True)
    all_turns = copied.additional_kwargs.pop(OWN_TURNS, None)
    own = all_turns.get(member) if isinstance(all_turns, Mapping) else None
    # another member would take these thoughts for its own
    kept = [block for block in copied.blocks if not _is_members_thought(block)]
    if len(kept) < len(copied.blocks) or own:
        copied.blocks = [*_thoughts(own), *kept] or [TextBlock(text="")]
    # the blocks have the tool calls; their second form belongs to the provider that wrote it
    if any(isinstance(block, ToolCallBlock) for block in copied.blocks):
        copied.additional_kwargs.pop("tool_calls", None)
    keywords = own.get("keywords") if isinstance(own, Mapping) else None
    copied.additional_kwargs.update(keywords if isinstance(keywords, Mapping) else {})
    return copied


def _thoughts(own: Any) -> list[ThinkingBlock]:
    dumped = own.get("thoughts") if isinstance(own, Mapping) else None
    try:
        return [ThinkingBlock.model_validate(block) for block in dumped or ()]
    except (TypeError, ValidationError):
        # a history from outside may hold anything
        return []


def _is_members_thought(block: Any) -> bool:
    return isinstance(block, ThinkingBlock) and MEMBER_KEY in block.additional_information

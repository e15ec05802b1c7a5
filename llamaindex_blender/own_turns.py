"""Keep with a picked message what its members need back, and give each member its own in the next call.

Providers refuse a conversation in which a model's signed thoughts are missing, and one that holds another provider's.
So the message itself is neutral, and its additional keywords hold one entry for each member that needs more.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ContentBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import ValidationError

from blender_core.types.answer import Answer
from blender_core.types.result import BlendResult
from blender_core.types.votes import normalised_call

__all__ = ["MEMBER_KEY", "OWN_TURNS", "own_turns", "turn_for"]

MEMBER_KEY = "blended_llm_member"
"""Marks a thought of a member in the blend's response."""

OWN_TURNS = "blend_own_turns"
"""The additional keyword: member's name -> what it needs back."""

# stated by the blocks of the message
_LEFT_OUT = ("function_call", "refusal", "tool_calls")
# keys of a thought that its provider signed or enciphered; OpenAI refuses a thought of its own without its call
_SIGNATURES = ("data", "signature", "thought_signature")
_THOUGHT = "thinking"
_BYTES = "base64_bytes"


def own_turns(result: BlendResult) -> dict[str, Any]:
    """Collect what members need back of a picked answer.

    The member that wrote it, and each that made the same tool calls, gets its thoughts and additional keywords back.
    Any other member gets back, if tools are called, the thoughts that its provider signed: some providers refuse the
    result of a tool without them.

    Args:
        result: The result.

    Returns:
        Member's name -> its entry, of JSON types; empty if nobody needs anything, or if the text is fused.
    """
    if result.answer is None:
        return {}
    calls = _calls(result.answer)
    own: dict[str, Any] = {}
    for record in result.candidates:
        outcome = record.outcome
        if outcome.answer is None:
            continue
        whole = outcome.index == result.winner_index or (bool(calls) and _calls(outcome.answer) == calls)
        entry = _entry(outcome.answer, whole=whole) if whole or calls else {}
        if entry:
            own[outcome.member] = entry
    return own


def _calls(answer: Answer) -> list[Any]:
    return sorted(map(normalised_call, answer.tool_calls))


def _entry(answer: Answer, *, whole: bool) -> dict[str, Any]:
    if not isinstance(answer.native, ChatResponse):
        return {}
    message = answer.native.message
    thoughts = [block for block in message.blocks if isinstance(block, ThinkingBlock) and (whole or _is_signed(block))]
    dumped = [plain for plain in map(_plain, (block.model_dump() for block in thoughts)) if plain is not None]
    given = message.additional_kwargs if whole else {}
    plain = {name: _plain(value) for name, value in given.items() if name not in _LEFT_OUT}
    keywords = {name: value for name, value in plain.items() if value is not None}
    kinds: list[str] = [block.block_type for block in message.blocks]
    # thoughts between other blocks go back to their places
    order = {"order": kinds} if len(dumped) == kinds.count(_THOUGHT) and _THOUGHT in kinds[len(dumped) :] else {}
    return {**({"thoughts": dumped} if dumped else {}), **order, **({"keywords": keywords} if keywords else {})}


def _is_signed(block: ThinkingBlock) -> bool:
    return any(block.additional_information.get(key) for key in _SIGNATURES)


def _plain(value: Any) -> Any:
    """A copy of JSON types, with bytes as text; ``None`` if there is no such form."""
    try:
        return json.loads(json.dumps(value, default=_written))
    except (TypeError, ValueError, RecursionError):
        return None


def _written(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _read(value: Any) -> Any:
    """The value with its bytes, which ``_plain`` wrote as text."""
    if isinstance(value, list):
        return [_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_BYTES} and isinstance(value[_BYTES], str):
        with contextlib.suppress(ValueError):
            return base64.b64decode(value[_BYTES], validate=True)
    return {name: _read(item) for name, item in value.items()}


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
        copied.blocks = _in_order(_thoughts(own), kept, own) or [TextBlock(text="")]
    # the blocks have the tool calls; their second form belongs to the provider that wrote it
    if any(isinstance(block, ToolCallBlock) for block in copied.blocks):
        copied.additional_kwargs.pop("tool_calls", None)
    keywords = own.get("keywords") if isinstance(own, Mapping) else None
    copied.additional_kwargs.update(_read(dict(keywords)) if isinstance(keywords, Mapping) else {})
    return copied


def _thoughts(own: Any) -> list[ThinkingBlock]:
    dumped = own.get("thoughts") if isinstance(own, Mapping) else None
    try:
        return [ThinkingBlock.model_validate(_read(block)) for block in dumped or ()]
    except (TypeError, ValidationError):
        # a history from outside may hold anything
        return []


def _in_order(thoughts: list[ThinkingBlock], others: list[ContentBlock], own: Any) -> list[ContentBlock]:
    """The thoughts at their places among the other blocks; first, if the blocks are not those of the member."""
    order = own.get("order") if isinstance(own, Mapping) else None
    kinds = order if isinstance(order, list) else []
    theirs = [kind for kind in kinds if kind != _THOUGHT]
    if len(kinds) != len(thoughts) + len(others) or theirs != [block.block_type for block in others]:
        return [*thoughts, *others]
    left, right = iter(thoughts), iter(others)
    return [next(left) if kind == _THOUGHT else next(right) for kind in kinds]


def _is_members_thought(block: Any) -> bool:
    return isinstance(block, ThinkingBlock) and MEMBER_KEY in block.additional_information

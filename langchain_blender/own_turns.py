"""Keep with a picked message what its members need back, and give each member its own in the next call.

Providers refuse a conversation in which a model's signed thoughts are missing, and one that holds another provider's.
So the message itself is neutral, and its metadata holds one entry for each member that needs more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.tool import ToolCall as LangChainToolCall

from blender_core.runtime.outside import read_json
from blender_core.types.answer import Answer, ToolCall
from blender_core.types.result import BlendResult
from blender_core.types.votes import normalised_call

__all__ = ["OWN_TURNS", "PRIVATE_KEYS", "is_blended", "own_turns", "turn_for"]

OWN_TURNS = "blend_own_turns"
"""The key of ``response_metadata``: member's name -> what it needs back."""

# every provider can be given these without what its own model said beside them
_COMMON_BLOCKS = frozenset(
    {
        "audio",
        "file",
        "function_call",
        "image",
        "image_url",
        "output_text",
        "text",
        "text-plain",
        "tool_call",
        "tool_use",
        "video",
    }
)
_CALL_BLOCKS = frozenset({"function_call", "tool_call", "tool_use"})
_SIGNED_THOUGHTS = frozenset({"redacted_thinking", "thinking"})
PRIVATE_KEYS = frozenset({"encrypted_content", "extras", "signature", "thought_signature"})
"""Keys of blocks that only the provider that made them understands."""
# stated elsewhere in the message, or large and never sent back
_LEFT_OUT = frozenset({"audio", "function_call", "logprobs", "parsed", "refusal", "tool_calls"})
_KEPT_METADATA = (OWN_TURNS, "id", "model", "model_name", "model_provider", "output_version")
_LANGCHAINS_IDS = ("lc_", "run-")


def own_turns(result: BlendResult, text: str, calls: Sequence[LangChainToolCall]) -> dict[str, Any]:
    """Collect what members need back of a picked answer.

    The member that wrote it gets all of its message back. A member that made the same tool calls gets its own thoughts
    back, with the text and the ids of the picked message. Any other member that had to call tools gets back only the
    thoughts that its provider signed, because some providers refuse a result of a tool without them.

    Args:
        result: The result.
        text: The text of the blended message.
        calls: Its tool calls.

    Returns:
        Member's name -> plain JSON types; empty if the answer is fused, or no member needs more than the message.
    """
    if result.answer is None:
        return {}
    turns = {}
    for index, record in enumerate(result.candidates):
        answer = record.outcome.answer
        if answer is None or not isinstance(answer.native, AIMessage):
            continue
        if index == result.winner_index or (calls and _same_calls(answer, result.answer)):
            turn = _turn(answer, text, calls)
        else:
            turn = _signed_thoughts(answer.native, text) if calls else {}
        if turn:
            turns[record.model] = turn
    return turns


def is_blended(message: AIMessage) -> bool:
    """Tell whether a message came from a blend.

    Args:
        message: A model's message.

    Returns:
        Whether it did.
    """
    return not {"blend", OWN_TURNS}.isdisjoint(message.response_metadata)


def turn_for(message: AIMessage, member: str) -> AIMessage | None:
    """Return a blended message as one member wrote it.

    Args:
        message: A blended message; not changed.
        member: The member's name.

    Returns:
        The member's own form. ``None`` if it has none, or if the text was changed since: then the change counts.
    """
    turns = message.response_metadata.get(OWN_TURNS)
    turn = turns.get(member) if isinstance(turns, Mapping) else None
    if not isinstance(turn, Mapping):
        return None
    content: Any = str(message.text)
    if "content" in turn:
        content = _with_calls(turn["content"], message.tool_calls)
        if AIMessage(content).text != message.text:
            return None
    return AIMessage(
        content,
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        additional_kwargs=dict(turn.get("additional_kwargs") or {}),
        response_metadata=dict(turn.get("response_metadata") or {}),
        id=turn.get("id"),
        name=message.name,
    )


def _turn(answer: Answer, text: str, calls: Sequence[LangChainToolCall]) -> dict[str, Any]:
    native = answer.native
    turn: dict[str, Any] = {}
    kept = {key: value for key, value in native.additional_kwargs.items() if key not in _LEFT_OUT and _is_plain(value)}
    if kept:
        turn["additional_kwargs"] = kept
    if isinstance(native.content, list) and (kept or any(map(_is_private, native.content))):
        turn["content"] = _with_text(native.content, text)
    metadata = {key: native.response_metadata[key] for key in _KEPT_METADATA if native.response_metadata.get(key)}
    if not turn and OWN_TURNS not in metadata and not str(metadata.get("id", "")).startswith("resp_"):
        return {}
    turn["response_metadata"] = metadata
    if native.id and not native.id.startswith(_LANGCHAINS_IDS):
        turn["id"] = native.id
    if not _is_plain(turn):
        return {}
    # a copy: the member's message stays the caller's to change
    copied: dict[str, Any] = _renamed(json.loads(json.dumps(turn)), _new_ids(answer, calls))
    return copied


def _signed_thoughts(native: AIMessage, text: str) -> dict[str, Any]:
    blocks = native.content if isinstance(native.content, list) else []
    thoughts = [block for block in blocks if isinstance(block, dict) and block.get("type") in _SIGNED_THOUGHTS]
    if not thoughts or not _is_plain(thoughts):
        return {}
    metadata = {key: native.response_metadata[key] for key in ("model_provider",) if key in native.response_metadata}
    content = [*json.loads(json.dumps(thoughts)), *([{"type": "text", "text": text}] if text else [])]
    return {"content": content, "response_metadata": metadata}


def _is_private(block: str | dict[str, Any]) -> bool:
    """Whether only the model that wrote a block understands it."""
    if isinstance(block, str):
        return False
    return block.get("type") not in _COMMON_BLOCKS or not PRIVATE_KEYS.isdisjoint(block)


def _is_plain(value: Any) -> bool:
    """Whether it is JSON, so that any serialisation of messages keeps it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _with_text(blocks: Sequence[Any], text: str) -> list[Any]:
    """The blocks with the text of the blended message, if it is another."""
    if AIMessage([*blocks]).text == text:
        return [_referred(block) for block in blocks]
    kept: list[Any] = []
    left = text
    for block in blocks:
        if isinstance(block, str) or block.get("type") in ("text", "output_text"):
            if left:
                kept.append({"type": "text", "text": left})
            left = ""
        else:
            if left and block.get("type") in _CALL_BLOCKS:
                kept.append({"type": "text", "text": left})
                left = ""
            kept.append(_referred(block))
    return [*kept, {"type": "text", "text": left}] if left else kept


def _referred(block: Any) -> Any:
    # OpenAI knows an image that it made by its id; the image itself is in the blended message
    if isinstance(block, dict) and block.get("type") == "image_generation_call":
        return {"type": block["type"], "id": block.get("id")}
    return block


def _same_calls(one: Answer, other: Answer) -> bool:
    return sorted(map(normalised_call, one.tool_calls)) == sorted(map(normalised_call, other.tool_calls))


def _new_ids(answer: Answer, calls: Sequence[LangChainToolCall]) -> dict[str, str]:
    """The member's id of each call -> the id in the blended message."""
    left = [(normalised_call(ToolCall(call["name"], call["args"])), str(call["id"])) for call in calls]
    ids: dict[str, str] = {}
    for call in answer.tool_calls:
        match = next((pair for pair in left if pair[0] == normalised_call(call)), None)
        if match is not None:
            left.remove(match)
            if call.id:
                ids[call.id] = match[1]
    return ids


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _with_calls(blocks: Sequence[Any], calls: Sequence[LangChainToolCall]) -> list[Any]:
    """Copies of the blocks with the message's tool calls, which a person may have changed or removed."""
    args = {call["id"]: call["args"] for call in calls}
    kept = []
    for block in blocks:
        if not isinstance(block, dict) or block.get("type") not in _CALL_BLOCKS:
            kept.append(block if isinstance(block, str) else dict(block))
            continue
        call_id = block.get("call_id") or block.get("id")
        if call_id in args:
            kept.append(_with_arguments(block, args[call_id]))
    return kept


def _with_arguments(block: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("arguments", "input", "args"):
        stated = block.get(key)
        if stated is None:
            continue
        try:
            same = (read_json(stated) if isinstance(stated, str) else stated) == args
        except ValueError:
            same = False
        if not same:
            return {**block, key: json.dumps(args, ensure_ascii=False) if isinstance(stated, str) else dict(args)}
    return dict(block)

"""Turns in the form of the OpenAI chat API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from blender_core.types.answer import ToolCall
from blender_core.types.media import Media
from blender_core.types.prompt import Message

__all__ = ["api_turns"]


def api_turns(turns: Sequence[Message]) -> list[dict[str, Any]]:
    """Write turns as the API's messages.

    A tool call is written as such where it has an id and a later turn answers it, and so is that turn: servers refuse
    the one without the other. The rest is written as text, and so is content that is neither text nor an image.

    Args:
        turns: The turns, oldest first.

    Returns:
        The messages.

    Examples:
        >>> api_turns([Message("user", "Hi"), Message("tool", "42")])
        [{'role': 'user', 'content': 'Hi'}, {'role': 'user', 'content': 'Tool result: 42'}]
    """
    answered = {turn.tool_call_id for turn in turns if turn.role == "tool"}
    asked: set[str | None] = set()
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn.tool_calls and all(call.id and call.id in answered for call in turn.tool_calls):
            asked.update(call.id for call in turn.tool_calls)
            calls = [_call(call) for call in turn.tool_calls]
            messages.append({"role": turn.role, "content": _content(turn.parts), "tool_calls": calls})
        elif turn.role != "tool":
            parts = () if turn.tool_calls else turn.parts
            messages.append({"role": turn.role, "content": _content(parts or (turn.content,))})
        elif turn.tool_call_id in asked:
            content = _content((turn.content,))
            messages.append({"role": "tool", "tool_call_id": turn.tool_call_id, "content": content})
        else:
            messages.append({"role": "user", "content": _content((f"Tool result: {turn.content}",))})
    return messages


def _content(parts: Sequence[str | Media]) -> str | list[dict[str, Any]]:
    if any(isinstance(part, Media) and part.kind == "image" for part in parts):
        return [_part(part) for part in parts]
    return _sendable("\n".join(map(str, parts)))


def _part(part: str | Media) -> dict[str, Any]:
    if isinstance(part, str) or part.kind != "image":
        return {"type": "text", "text": _sendable(str(part))}
    url = f"data:{part.mime_type or 'image/png'};base64,{part.data}" if part.data else part.url
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = _sendable(json.dumps(dict(call.arguments), ensure_ascii=False, default=str))
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _sendable(text: str) -> str:
    """Text that UTF-8 can hold: the halves of a character are joined, a lone half is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

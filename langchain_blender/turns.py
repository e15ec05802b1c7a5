"""LangChain messages on one side, the engine's turns with tool calls and images on the other.

Members of other frameworks read these turns; LangChain members get the messages themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call as langchain_call

from blender_core.types.answer import ToolCall
from blender_core.types.media import Media, MediaKind
from blender_core.types.prompt import Message

__all__ = ["from_turn", "to_turn"]

_KINDS = ("audio", "file", "image", "video")


def to_turn(message: BaseMessage, role: str, text: str) -> Message:
    """A message as a turn.

    Args:
        message: The message.
        role: Its role in the engine's words.
        text: Its content as text.

    Returns:
        The turn, with the message's tool calls, images and the like.

    Examples:
        >>> blocks = [{"type": "text", "text": "What is this?"}, {"type": "image", "url": "https://example.org/a.png"}]
        >>> [str(part) for part in to_turn(HumanMessage(blocks), "user", "What is this?[image]").parts]
        ['What is this?', '[image]']
    """
    calls: tuple[ToolCall, ...] = ()
    if isinstance(message, AIMessage):
        calls = tuple(ToolCall(call["name"], call["args"], call.get("id")) for call in message.tool_calls)
    parts = _parts(message)
    plain = not calls and all(isinstance(part, str) for part in parts)
    call_id = message.tool_call_id if isinstance(message, ToolMessage) else None
    return Message(role, text, () if plain else parts, calls, call_id)


def from_turn(turn: Message) -> BaseMessage:
    """A turn as a message.

    Args:
        turn: A turn of a prompt that was not made from LangChain messages.

    Returns:
        The message. A tool's turn without the id of its call becomes the user's: providers refuse it otherwise.

    Examples:
        >>> from_turn(Message("assistant", "[calls add]", tool_calls=(ToolCall("add", {"a": 1}, "x"),))).tool_calls
        [{'name': 'add', 'args': {'a': 1}, 'id': 'x', 'type': 'tool_call'}]
    """
    content = _content(turn)
    if turn.role == "system":
        return SystemMessage(content)
    if turn.role == "assistant":
        calls = [langchain_call(name=call.name, args=dict(call.arguments), id=call.id) for call in turn.tool_calls]
        return AIMessage(content, tool_calls=calls)
    if turn.role == "tool" and turn.tool_call_id is not None:
        return ToolMessage(content, tool_call_id=turn.tool_call_id)
    if turn.role == "tool":
        return HumanMessage(f"Tool result: {turn.content}")
    return HumanMessage(content)


def _parts(message: BaseMessage) -> tuple[str | Media, ...]:
    if isinstance(message.content, str):
        return (message.content,) if message.content else ()
    parts: list[str | Media] = []
    for block in message.content_blocks:
        if block["type"] in ("text", "text-plain"):
            parts.append(str(block.get("text") or ""))
        elif block["type"] in _KINDS:
            media = _media(block)
            parts.extend([] if media is None else [media])
    return tuple(parts)


def _media(block: Mapping[str, Any]) -> Media | None:
    data, url, mime = block.get("base64"), block.get("url"), block.get("mime_type")
    if isinstance(url, str) and url.startswith("data:"):
        head, _, data = url.partition(",")
        url, mime = None, mime or head[len("data:") :].split(";")[0] or None
    if not data and not url:
        # a file's id means something to one provider only
        return None
    name = (block.get("extras") or {}).get("filename")
    return Media(cast(MediaKind, block["type"]), data or None, url, mime, name)


def _content(turn: Message) -> Any:
    if not turn.parts:
        return "" if turn.tool_calls else turn.content
    if all(isinstance(part, str) for part in turn.parts):
        return "\n".join(map(str, turn.parts))
    return [{"type": "text", "text": part} if isinstance(part, str) else _block(part) for part in turn.parts]


def _block(media: Media) -> dict[str, Any]:
    source = {"base64": media.data} if media.data else {"url": media.url}
    mime = {"mime_type": media.mime_type} if media.mime_type else {}
    extras = {"extras": {"filename": media.name}} if media.name and media.kind == "file" else {}
    return {"type": media.kind, **source, **mime, **extras}

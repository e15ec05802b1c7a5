"""Convert between LlamaIndex messages and the engine's prompts and answers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from blender_core.errors import MemberError
from blender_core.text.thinking import split_thinking
from blender_core.types.answer import Answer, ToolCall, Usage, ended_by_filter
from blender_core.types.media import Media, MediaKind
from blender_core.types.prompt import Message, Prompt
from llamaindex_blender.own_turns import turn_for
from llamaindex_blender.tools import read_arguments

__all__ = [
    "NativeInput",
    "calls_of_message",
    "finish_reason_of",
    "is_unfinished",
    "other_blocks",
    "thoughts_of",
    "to_answer",
    "to_messages",
    "to_prompt",
    "usage_of",
]

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.FUNCTION: "tool",
    MessageRole.TOOL: "tool",
}
# the attribute that holds the content, by block
_HANDLES = {ImageBlock: "image", AudioBlock: "audio", VideoBlock: "video", DocumentBlock: "data"}
_INPUT_NAMES = ("prompt_tokens", "input_tokens", "prompt_token_count")
_OUTPUT_NAMES = ("completion_tokens", "output_tokens", "candidates_token_count")


@dataclass(frozen=True, slots=True)
class NativeInput:
    """Holds a call in LlamaIndex's own form; LlamaIndex members get it unchanged.

    Attributes:
        messages: The conversation.
        options: Call options for LlamaIndex members only.
        parallel_tool_calls: Whether one answer may have several tool calls.
    """

    messages: tuple[ChatMessage, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    parallel_tool_calls: bool = False


def to_prompt(
    messages: Sequence[ChatMessage],
    options: Mapping[str, Any],
    *,
    native_options: Mapping[str, Any] | None = None,
    parallel_tool_calls: bool = False,
) -> Prompt:
    r"""Convert a conversation to a prompt.

    Args:
        messages: The conversation, oldest first; not changed.
        options: Call options that members of every kind understand.
        native_options: Call options for LlamaIndex members only.
        parallel_tool_calls: Whether one answer may have several tool calls.

    Returns:
        The prompt. Its text has marks such as ``[image]`` for other content.

    Raises:
        ConfigurationError: There are no messages.

    Examples:
        >>> turns = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Hi")]
        >>> to_prompt(turns, {}).text
        'System: Be brief.\nUser: Hi'
    """
    kept = tuple(_with_own_handles(message) for message in messages)
    native = NativeInput(kept, dict(native_options or {}), parallel_tool_calls)
    return Prompt(tuple(_turn(message) for message in kept), native=native, options=options)


def to_messages(prompt: Prompt) -> list[ChatMessage]:
    """Convert a prompt to LlamaIndex messages.

    Args:
        prompt: A prompt, made from LlamaIndex messages or not.

    Returns:
        Copies of the original messages, so that members cannot change each other's. Thoughts of earlier turns are
        those of ``prompt.member``. Else one message for each turn, with its images and tool calls.

    Examples:
        >>> to_messages(Prompt.of("Hi"))[0].content
        'Hi'
    """
    if isinstance(prompt.native, NativeInput):
        return [turn_for(message, prompt.member) for message in prompt.native.messages]
    return [_message(turn) for turn in prompt.messages]


def calls_of_message(message: ChatMessage) -> tuple[ToolCall, ...]:
    """Return the tool calls of a message.

    Args:
        message: Any message.

    Returns:
        The calls in its blocks; else those in ``additional_kwargs["tool_calls"]``, which older integrations use.

    Examples:
        >>> block = ToolCallBlock(tool_name="add", tool_kwargs='{"a": 1}', tool_call_id="1")
        >>> calls_of_message(ChatMessage(role="assistant", blocks=[block]))
        (ToolCall(name='add', arguments={'a': 1}, id='1'),)
    """
    return _calls(message, read_arguments)


def _calls(message: ChatMessage, read: Callable[[Any, str], dict[str, Any]]) -> tuple[ToolCall, ...]:
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return tuple(
            ToolCall(block.tool_name, read(block.tool_kwargs, block.tool_name), block.tool_call_id) for block in blocks
        )
    stated = message.additional_kwargs.get("tool_calls") or ()
    return tuple(_stated_call(call, read) for call in stated) if isinstance(stated, list | tuple) else ()


def _read_past_arguments(arguments: Any, name: str) -> dict[str, Any]:
    """Read the arguments of an earlier turn; empty if they cannot be read."""
    try:
        return read_arguments(arguments, name)
    except MemberError:
        return {}


def _turn(message: ChatMessage) -> Message:
    role = _ROLES[message.role]
    parts = [part for block in message.blocks for part in _parts(block)]
    calls = _calls(message, _read_past_arguments) if role == "assistant" else ()
    written = [f"[calls {call.name}({json.dumps(dict(call.arguments), default=str)})]" for call in calls]
    content = "\n".join([*map(str, parts), *written])
    plain = all(isinstance(part, str) for part in parts) and not written
    call_id = message.additional_kwargs.get("tool_call_id") if role == "tool" else None
    return Message(role, content, () if plain else tuple(parts), calls, None if call_id is None else str(call_id))


def _parts(block: ContentBlock) -> list[str | Media]:
    if isinstance(block, TextBlock):
        return [block.text]
    if isinstance(block, CitableBlock):
        return [part for inner in block.content for part in _parts(inner)]
    if isinstance(block, CitationBlock):
        return _parts(block.cited_content)
    if isinstance(block, ImageBlock | AudioBlock | VideoBlock | DocumentBlock):
        media = _media(block)
        return [] if media is None else [media]
    # thoughts, tool calls and cache points are no content
    return []


def _media(block: ImageBlock | AudioBlock | VideoBlock | DocumentBlock) -> Media | None:
    kind: MediaKind
    if isinstance(block, ImageBlock):
        kind, mime = "image", block.image_mimetype
    elif isinstance(block, AudioBlock):
        kind, mime = "audio", f"audio/{block.format}" if block.format else None
    elif isinstance(block, VideoBlock):
        kind, mime = "video", block.video_mimetype
    else:
        kind, mime = "file", block.document_mimetype
    name = getattr(block, "title", None)
    url = None if block.url is None else str(block.url)
    if url is not None and not url.startswith("data:"):
        return Media(kind, None, url, mime, name)
    if url is not None:
        head, _, data = url.partition(",")
        return Media(kind, data, None, mime or head[5:].split(";")[0] or None, name) if data else None
    content = getattr(block, _HANDLES[type(block)])
    if isinstance(content, bytes) and content:
        # blocks keep their bytes in base64
        return Media(kind, content.decode("ascii"), None, mime, name)
    if block.path is not None:
        with open(block.path, "rb") as file:
            return Media(kind, base64.b64encode(file.read()).decode("ascii"), None, mime, name)
    if isinstance(content, io.BytesIO):
        return Media(kind, base64.b64encode(content.getvalue()).decode("ascii"), None, mime, name)
    return None


def _with_own_handles(message: ChatMessage) -> ChatMessage:
    """Read open files into memory, because members read at the same time and copies need bytes."""
    if not any(isinstance(getattr(block, _HANDLES.get(type(block), ""), None), io.IOBase) for block in message.blocks):
        return message
    blocks: list[Any] = []
    for block in message.blocks:
        name = _HANDLES.get(type(block), "")
        handle = getattr(block, name, None)
        if isinstance(handle, io.IOBase):
            handle.seek(0)
            block = block.model_copy(update={name: io.BytesIO(handle.read())})
            handle.seek(0)
        blocks.append(block)
    return message.model_copy(update={"blocks": blocks})


def _message(turn: Message) -> ChatMessage:
    parts = turn.parts or ((turn.content,) if turn.content and not turn.tool_calls else ())
    blocks: list[Any] = [_block(part) for part in parts]
    for call in turn.tool_calls:
        blocks.append(ToolCallBlock(tool_name=call.name, tool_kwargs=dict(call.arguments), tool_call_id=call.id))
    if turn.role == "tool":
        if turn.tool_call_id is None:
            # providers refuse a tool's message without the id of its call
            return ChatMessage(role=MessageRole.USER, content=f"Tool result: {turn.content}")
        keywords = {"tool_call_id": turn.tool_call_id}
        return ChatMessage(role=MessageRole.TOOL, blocks=blocks or [TextBlock(text="")], additional_kwargs=keywords)
    return ChatMessage(role=MessageRole(turn.role), blocks=blocks or [TextBlock(text="")])


def _block(part: str | Media) -> ContentBlock:
    if isinstance(part, str):
        return TextBlock(text=part)
    data = None if part.data is None else part.data.encode("ascii")
    if part.kind == "image":
        return ImageBlock(image=data, url=part.url, image_mimetype=part.mime_type)
    if part.kind == "audio":
        form = None if part.mime_type is None else part.mime_type.rpartition("/")[2]
        return AudioBlock(audio=data, url=part.url, format=form)
    if part.kind == "video":
        return VideoBlock(video=data, url=part.url, video_mimetype=part.mime_type)
    return DocumentBlock(data=data, url=part.url, document_mimetype=part.mime_type, title=part.name)


def _stated_call(call: Any, read: Callable[[Any, str], dict[str, Any]]) -> ToolCall:
    """Read a call in OpenAI's form, as an object or a mapping, or as LlamaIndex's tool selection."""
    function = _get(call, "function")
    if function is not None:
        name = str(_get(function, "name") or "")
        return ToolCall(name, read(_get(function, "arguments"), name), _get(call, "id"))
    name = str(_get(call, "tool_name") or "")
    return ToolCall(name, read(_get(call, "tool_kwargs"), name), _get(call, "tool_id"))


def to_answer(response: ChatResponse, tool_calls: Sequence[ToolCall] = ()) -> Answer:
    """Convert a response to an answer.

    Args:
        response: The response of an LLM.
        tool_calls: Its tool calls, as the LLM itself reads them.

    Returns:
        The answer without the model's thoughts; ``native`` is the response.

    Examples:
        >>> raw = {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        >>> to_answer(ChatResponse(message=ChatMessage(role="assistant", content="Hi"), raw=raw)).usage
        Usage(input_tokens=3, output_tokens=1)
    """
    reason = finish_reason_of(response)
    model = _get(response.raw, "model")
    return Answer(
        split_thinking(response.message.content or "")[1],
        tuple(tool_calls),
        usage_of(response),
        model=model if isinstance(model, str) and model else None,
        finish_reason=reason,
        refusal=_refusal(response, reason),
        native=response,
        has_other_content=bool(other_blocks(response.message)),
        thoughts=thoughts_of(response.message),
        logprobs=_logprobs(response),
    )


def _logprobs(response: ChatResponse) -> tuple[tuple[str, Mapping[str, float]], ...]:
    # an integration gives the likeliest tokens of each place, not which one was written
    places = [
        {each.token: each.logprob for each in place} for place in response.logprobs or () if isinstance(place, list)
    ]
    return tuple((max(place, key=lambda token: place[token]), place) for place in places if place)


def thoughts_of(message: ChatMessage) -> str:
    """Return what a model thought before its answer: in blocks, in ``reasoning_content``, or in ``<think>`` tags.

    Args:
        message: An LLM's message.

    Returns:
        The thoughts as one text; empty if there are none.

    Examples:
        >>> thoughts_of(ChatMessage(role="assistant", content="<think>Easy.</think>Paris"))
        'Easy.'
    """
    stated = [block.content for block in message.blocks if isinstance(block, ThinkingBlock)]
    keyword = message.additional_kwargs.get("reasoning_content")
    if isinstance(keyword, str) and not stated:
        stated = [keyword]
    parts = [*stated, split_thinking(message.content or "")[0]]
    return "\n\n".join(part for part in parts if part)


def other_blocks(message: ChatMessage) -> list[ContentBlock]:
    """Return the content of an answer other than text and thoughts, such as images.

    Args:
        message: An LLM's message.

    Returns:
        The blocks, in order.

    Examples:
        >>> other_blocks(ChatMessage(role="assistant", content="Hi"))
        []
    """
    private = (TextBlock, ThinkingBlock, ToolCallBlock, CachePoint)
    return [block for block in message.blocks if not isinstance(block, private)]


def usage_of(response: ChatResponse) -> Usage | None:
    """Read the usage of a call.

    Args:
        response: The response of an LLM.

    Returns:
        The tokens, from the raw response or from the additional keywords of response or message; ``None`` if no
        place has them.
    """
    raw = response.raw
    places = (_get(raw, "usage"), _get(raw, "usage_metadata"))
    for source in (*places, response.additional_kwargs, response.message.additional_kwargs):
        read, written = _count(source, _INPUT_NAMES), _count(source, _OUTPUT_NAMES)
        if read is not None and written is not None:
            return Usage(read, written)
    return None


def finish_reason_of(response: ChatResponse) -> str | None:
    """Return why an LLM stopped, as its provider calls it; ``None`` if the response does not say."""
    choices = _get(response.raw, "choices")
    first = choices[0] if isinstance(choices, list | tuple) and choices else None
    for source in (first, response.raw, response.additional_kwargs, response.message.additional_kwargs):
        for name in ("finish_reason", "stop_reason", "stopReason", "done_reason"):
            value = _get(source, name)
            if isinstance(value, str) and value:
                return value
    # OpenAI's Responses API
    missing = _get(_get(response.raw, "incomplete_details"), "reason")
    return missing if isinstance(missing, str) and missing else None


def is_unfinished(response: ChatResponse, before: bool) -> bool:
    """Tell whether a stream in OpenAI's form is still open after a piece.

    Its last pieces have a finish reason, or usage without a choice. A connection that breaks may end without an error;
    then both are missing. Other forms do not say whether more comes.

    Args:
        response: The next piece.
        before: Whether it was open before; ``False`` at its start.

    Returns:
        Whether more must come.
    """
    choices = _get(response.raw, "choices")
    if not isinstance(choices, list | tuple):
        return before
    # the chunk with the usage has no choice
    return bool(choices) and finish_reason_of(response) is None and (before or _is_chunk(choices[0]))


def _is_chunk(choice: Any) -> bool:
    return any(_get(choice, name) is not None for name in ("delta", "text"))


def _refusal(response: ChatResponse, reason: str | None) -> str | None:
    spoken = response.message.additional_kwargs.get("refusal")
    if isinstance(spoken, str) and spoken:
        return spoken
    return f"finish reason {reason}" if ended_by_filter(reason) else None


def _count(source: Any, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = _get(source, name)
        if isinstance(value, int):
            return value
    return None


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)

"""Convert between LangChain messages and the engine's prompts and answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call as langchain_call
from langchain_core.prompt_values import ChatPromptValue

from blender_core.errors import MemberError
from blender_core.text.thinking import split_thinking
from blender_core.types.answer import Answer, ToolCall, Usage, ended_by_filter, token_logprobs
from blender_core.types.media import Media, MediaKind
from blender_core.types.prompt import Message, Prompt
from langchain_blender.own_turns import OWN_TURNS, is_blended, turn_for

__all__ = [
    "broken_call",
    "from_turn",
    "message_text",
    "refusal_of",
    "thought_blocks",
    "to_answer",
    "to_messages",
    "to_prompt",
    "to_turn",
    "usage_metadata",
    "usage_of",
]

_KINDS = ("audio", "file", "image", "video")


def to_turn(message: BaseMessage, role: str, text: str) -> Message:
    """Convert a message to a turn.

    Args:
        message: The message.
        role: The turn's role.
        text: The message's content as text.

    Returns:
        The turn, with the message's tool calls and media.

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
    """Convert a turn to a message.

    Args:
        turn: A turn of a prompt that was not made from LangChain messages.

    Returns:
        The message. A tool's turn without the id of its call becomes a user's, because providers refuse it otherwise.

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
        # a file's id is known to one provider only
        return None
    extras = block.get("extras")
    name = extras.get("filename") if isinstance(extras, Mapping) else None
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


_SILENT_BLOCKS = frozenset(
    {
        "function_call",
        "invalid_tool_call",
        "reasoning",
        "reasoning_content",
        "redacted_thinking",
        "thinking",
        "tool_call",
        "tool_call_chunk",
        "tool_use",
    }
)
_TEXT_BLOCKS = frozenset({"input_text", "output_text", "text"})
_MEDIA_BLOCKS = frozenset({"audio", "file", "image", "text-plain", "video"})


def to_prompt(messages: Sequence[BaseMessage], options: Mapping[str, Any]) -> Prompt:
    r"""Convert a conversation to a prompt; LangChain members get the messages themselves.

    Args:
        messages: The conversation, oldest first.
        options: Call options such as ``stop`` and ``tools``.

    Returns:
        The prompt. Its text has marks such as ``[image]`` for other content.

    Raises:
        ConfigurationError: There are no messages.

    Examples:
        >>> to_prompt([SystemMessage("Be brief."), HumanMessage("Hi")], {}).text
        'System: Be brief.\nUser: Hi'
    """
    turns = tuple(to_turn(message, _role(message), message_text(message)) for message in messages)
    native = ChatPromptValue(messages=list(messages))
    return Prompt(turns, native=native, options=options)


def to_messages(prompt: Prompt) -> list[BaseMessage]:
    """Convert a prompt to LangChain messages.

    Args:
        prompt: A prompt, made from LangChain messages or not.

    Returns:
        Copies of the original messages, so that members cannot change each other's; else one message for each turn.
        Tools' artifacts and parts that cannot be copied are shared. In blended answers the member that is asked finds
        its own thoughts. Those of others are left out, because its provider may refuse them.

    Examples:
        >>> to_messages(Prompt.of("Hi"))[0].text
        'Hi'
    """
    if isinstance(prompt.native, ChatPromptValue):
        return [_for_member(_copied(message), prompt.member) for message in prompt.native.messages]
    return [from_turn(turn) for turn in prompt.messages]


def to_answer(output: Any) -> Answer:
    """Convert the output of a LangChain runnable to an answer.

    Args:
        output: A message; a text; or a graph's state, whose last message counts.

    Returns:
        The answer without the model's thoughts; ``native`` is the message.

    Raises:
        MemberError: The output is none of these.

    Examples:
        >>> to_answer(AIMessage("Hi", usage_metadata={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}))
        Answer(text='Hi', tool_calls=(), usage=Usage(input_tokens=3, output_tokens=1), cost=None, model=None, \
finish_reason=None, refusal=None)
    """
    if isinstance(output, str):
        thoughts, text = split_thinking(output)
        return Answer(text, native=AIMessage(content=str(output)), thoughts=thoughts)
    if isinstance(output, Mapping) and isinstance(output.get("messages"), Sequence) and output["messages"]:
        output = output["messages"][-1]
    if isinstance(output, AIMessageChunk):
        output = message_chunk_to_message(output)
    if isinstance(output, ChatMessage | HumanMessage):
        output = AIMessage(content=output.content)
    if not isinstance(output, AIMessage):
        raise MemberError(
            f"the member returned {type(output).__name__}, not a message or a text; "
            "end its chain with a model, or with a function that gives text"
        )
    return _read(output)


def message_text(message: BaseMessage) -> str:
    """Convert a message's content to text.

    Args:
        message: Any message.

    Returns:
        Its text without reasoning. A tool call becomes ``[calls name({...})]``, other content a mark such as
        ``[image]``.

    Examples:
        >>> message_text(HumanMessage([{"type": "text", "text": "What is this?"}, {"type": "image", "url": "x"}]))
        'What is this?[image]'
    """
    if isinstance(message.content, str):
        parts = [message.content]
    else:
        parts = [block if isinstance(block, str) else _block_text(block) for block in message.content]
    if isinstance(message, AIMessage):
        for call in message.tool_calls:
            arguments = json.dumps(call["args"], ensure_ascii=False, default=str)
            parts.append(f"[calls {call['name']}({arguments})]")
    return "".join(parts)


def refusal_of(message: AIMessage) -> str | None:
    """Return why a provider withheld the answer.

    Args:
        message: A model's message.

    Returns:
        The refusal or the filter's name; ``None`` if the message is an answer.

    Examples:
        >>> refusal_of(AIMessage("", response_metadata={"finish_reason": "content_filter"}))
        'finish reason content_filter'
    """
    spoken = message.additional_kwargs.get("refusal")
    if isinstance(spoken, str) and spoken:
        return spoken
    for block in message.content:
        if isinstance(block, dict):
            inner = block.get("value") if block.get("type") == "non_standard" else block
            if isinstance(inner, dict) and inner.get("type") == "refusal":
                return str(inner.get("refusal") or inner.get("text") or "refused")
    reason = _finish_reason(message)
    return f"finish reason {reason}" if ended_by_filter(reason) else None


def thought_blocks(message: AIMessage) -> list[Mapping[str, Any]]:
    """Return what a model thought: in blocks of the content, or in the keyword ``reasoning_content``.

    Args:
        message: A model's message, or a chunk of it.

    Returns:
        Blocks with a ``reasoning`` that is not empty. Thoughts in tags are left in the text.

    Examples:
        >>> thought_blocks(AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Hi"}]))
        [{'type': 'reasoning', 'reasoning': 'hm'}]
    """
    stated = message.additional_kwargs.get("reasoning_content")
    keyword: list[Mapping[str, Any]] = []
    if isinstance(stated, str) and stated:
        keyword = [{"type": "reasoning", "reasoning": stated}]
    if isinstance(message.content, str):
        return keyword
    kinds = {block.get("type") for block in message.content if isinstance(block, dict)}
    # no need to convert the provider's blocks
    if kinds <= _TEXT_BLOCKS | _MEDIA_BLOCKS:
        return keyword
    blocks = cast("list[Mapping[str, Any]]", message.content_blocks)
    stated = [block for block in blocks if block["type"] == "reasoning" and block.get("reasoning")]
    return [block for block in stated if isinstance(block["reasoning"], str)] or keyword


def broken_call(message: Any) -> str | None:
    """Return why no tool call of a message can be made, though it holds some.

    Args:
        message: A model's message; anything else has no calls.

    Returns:
        The reason; ``None`` if there are calls that can be made, or none at all.

    Examples:
        >>> broken_call(AIMessage("", invalid_tool_calls=[{"name": "add", "args": "{", "id": "1", "error": "cut off"}]))
        'a tool call that cannot be parsed: add({): cut off'
    """
    if not isinstance(message, AIMessage) or message.tool_calls or not message.invalid_tool_calls:
        return None
    broken = message.invalid_tool_calls[0]
    return f"a tool call that cannot be parsed: {broken.get('name')}({broken.get('args')}): {broken.get('error')}"


def usage_of(message: AIMessage) -> tuple[Usage | None, float | None]:
    """Read the usage and cost of a model's call.

    Args:
        message: A model's message.

    Returns:
        Tokens and cost; each is ``None`` if the message does not report it.

    Examples:
        >>> usage_of(AIMessage("Hi"))
        (None, None)
    """
    if message.usage_metadata is None:
        return None, None
    used: Mapping[str, Any] = message.usage_metadata
    # langchain-core sets a cost of 0 on a cached answer; a blend's own cost is next to its usage
    stated = used.get("total_cost", message.response_metadata.get("total_cost"))
    usage = Usage(
        int(used.get("input_tokens") or 0),
        int(used.get("output_tokens") or 0),
        _details(used.get("input_token_details")),
        _details(used.get("output_token_details")),
    )
    return usage, float(stated) if isinstance(stated, int | float) else None


def usage_metadata(usage: Usage, cost: float | None = None) -> UsageMetadata:
    """Convert tokens to LangChain's form.

    Args:
        usage: Tokens.
        cost: Their cost, as ``total_cost`` of the result; ``None`` leaves it out.

    Returns:
        The tokens with their details.

    Examples:
        >>> usage_metadata(Usage(3, 1))
        {'input_tokens': 3, 'output_tokens': 1, 'total_tokens': 4}
    """
    total: Any = usage.to_dict()
    if usage.input_details:
        total["input_token_details"] = dict(usage.input_details)
    if usage.output_details:
        total["output_token_details"] = dict(usage.output_details)
    return cast(UsageMetadata, total if cost is None else {**total, "total_cost": cost})


def _copied(message: BaseMessage) -> BaseMessage:
    artifact = getattr(message, "artifact", None)
    try:
        # the memo keeps the artifact from being copied: no model sees it, and it may be large
        return copy.deepcopy(message, {id(artifact): artifact})
    except Exception:
        parts = {name: _copied_part(part) for name, part in message if part is not artifact}
        return message.model_copy(update=parts)


def _copied_part(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _copied_part(item) for key, item in part.items()}
    if isinstance(part, list):
        return [_copied_part(item) for item in part]
    try:
        return copy.deepcopy(part)
    except Exception:
        # such as a lock or a connection
        return part


def _for_member(message: BaseMessage, member: str) -> BaseMessage:
    """A message of a blend as the member wrote it, else without anyone's thoughts. Changes its argument."""
    if isinstance(message, AIMessage) and is_blended(message):
        own = turn_for(message, member)
        if own is not None:
            return own
        message.response_metadata.pop(OWN_TURNS, None)
        message.additional_kwargs.pop("reasoning_content", None)
        if not isinstance(message.content, str):
            message.content = [_uncited(block) for block in message.content if not _is_thought(block)]
    return message


def _uncited(block: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(block, str) or block.get("type") != "text":
        return block
    return {key: value for key, value in block.items() if key != "annotations"}


def _is_thought(block: str | dict[str, Any]) -> bool:
    return isinstance(block, dict) and block.get("type") == "reasoning"


def _read(message: AIMessage) -> Answer:
    calls = tuple(ToolCall(call["name"], call["args"], call.get("id")) for call in message.tool_calls)
    usage, cost = usage_of(message)
    model = message.response_metadata.get("model_name") or message.response_metadata.get("model")
    tagged, text = split_thinking(str(message.text))
    return Answer(
        text,
        calls,
        usage,
        cost,
        str(model) if model else None,
        _finish_reason(message),
        refusal_of(message),
        message,
        _holds_media(message) or broken_call(message) is not None,
        "\n\n".join([*(block["reasoning"] for block in thought_blocks(message)), *([tagged] if tagged else [])]),
        logprobs=_logprobs(message),
    )


def _logprobs(message: AIMessage) -> tuple[tuple[str, Mapping[str, float]], ...]:
    stated = message.response_metadata.get("logprobs")
    return token_logprobs(stated.get("content") if isinstance(stated, Mapping) else None)


def _holds_media(message: AIMessage) -> bool:
    if isinstance(message.content, str):
        return False
    kinds = {block.get("type") for block in message.content if isinstance(block, dict)}
    # no need to convert the provider's blocks
    if kinds <= _TEXT_BLOCKS | _SILENT_BLOCKS:
        return False
    return any(block["type"] in _MEDIA_BLOCKS for block in message.content_blocks)


def _details(counts: Any) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, count) for name, count in (counts or {}).items() if isinstance(count, int)))


def _finish_reason(message: AIMessage) -> str | None:
    for key in ("finish_reason", "stop_reason", "stopReason", "done_reason"):
        value = message.response_metadata.get(key)
        if value:
            return str(value)
    # OpenAI's Responses API
    missing = message.response_metadata.get("incomplete_details")
    return str(missing["reason"]) if isinstance(missing, dict) and missing.get("reason") else None


def _block_text(block: Mapping[str, Any]) -> str:
    kind = str(block.get("type", "content"))
    if kind in _TEXT_BLOCKS:
        return str(block.get("text", ""))
    if kind in _SILENT_BLOCKS:
        return ""
    return f"[{kind.removesuffix('_url').removeprefix('input_')}]"


def _role(message: BaseMessage) -> str:
    if isinstance(message, SystemMessage):
        return "system"
    if isinstance(message, AIMessage):
        return "assistant"
    if isinstance(message, ToolMessage | FunctionMessage):
        return "tool"
    if isinstance(message, ChatMessage):
        role = message.role.lower()
        return role if role in ("system", "assistant", "tool") else "user"
    return "user"

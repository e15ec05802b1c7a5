"""What a LlamaIndex LLM returns, read for the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    ChatResponse,
    ContentBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from blender_core.text.thinking import split_thinking
from blender_core.types.answer import Answer, ToolCall, Usage

__all__ = ["other_blocks", "to_answer", "usage_of"]

_INPUT_NAMES = ("prompt_tokens", "input_tokens", "prompt_token_count")
_OUTPUT_NAMES = ("completion_tokens", "output_tokens", "candidates_token_count")
# how providers say that a text was withheld
_FILTERED = frozenset(
    {"blocklist", "content_filter", "guardrail_intervened", "prohibited_content", "recitation", "refusal", "safety"}
)


def to_answer(response: ChatResponse, tool_calls: Sequence[ToolCall] = ()) -> Answer:
    """Read a response.

    Args:
        response: What the LLM returned.
        tool_calls: Its tool calls, as the LLM itself reads them.

    Returns:
        The answer, without what the model thought before it; ``native`` is the response.

    Examples:
        >>> from llama_index.core.llms import ChatMessage
        >>> raw = {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        >>> to_answer(ChatResponse(message=ChatMessage(role="assistant", content="Hi"), raw=raw)).usage
        Usage(input_tokens=3, output_tokens=1)
    """
    reason = _finish_reason(response)
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
    )


def other_blocks(message: ChatMessage) -> list[ContentBlock]:
    """Content of an answer beside its text and thoughts: images, sound, files, citations.

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
    """What a call used.

    Args:
        response: What the LLM returned.

    Returns:
        The tokens; providers put them into the raw response, or into the additional keywords of response or
        message. ``None`` where they are nowhere.
    """
    raw = response.raw
    places = (_get(raw, "usage"), _get(raw, "usage_metadata"))
    for source in (*places, response.additional_kwargs, response.message.additional_kwargs):
        read, written = _count(source, _INPUT_NAMES), _count(source, _OUTPUT_NAMES)
        if read is not None and written is not None:
            return Usage(read, written)
    return None


def _finish_reason(response: ChatResponse) -> str | None:
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


def _refusal(response: ChatResponse, reason: str | None) -> str | None:
    spoken = response.message.additional_kwargs.get("refusal")
    if isinstance(spoken, str) and spoken:
        return spoken
    return f"finish reason {reason}" if reason is not None and reason.lower() in _FILTERED else None


def _count(source: Any, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = _get(source, name)
        if isinstance(value, int):
            return value
    return None


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)

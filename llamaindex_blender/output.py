"""Convert the engine's result to a LlamaIndex response, whole or in pieces."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from blender_core.events import BlendEvent, Finished, FusionRejected, Thought, Token
from blender_core.text.stop_sequences import StopFilter, cut_at_stop
from blender_core.types.result import BlendResult
from llamaindex_blender.messages import other_blocks
from llamaindex_blender.own_turns import MEMBER_KEY, OWN_TURNS, own_turns

__all__ = ["ResponseWriter", "blended_response"]

_PARAGRAPH = "\n\n"
_SIGNATURE = "signature"


def blended_response(
    result: BlendResult, *, model: str, stop: Sequence[str] = (), parallel_tool_calls: bool = True
) -> ChatResponse:
    """Convert the result of a call to a response.

    A fused text is plain text. A picked answer keeps its text, tool calls and other content. The thoughts of the model
    that wrote the text become a ``ThinkingBlock``. What only one provider understands goes back to its own member in
    the next turn and to no other; ``own_turns`` keeps it. A block keeps its ``signature``, for LLMs outside the blend.

    Args:
        result: The result.
        model: The blend's name.
        stop: Stop sequences; the text ends before the first.
        parallel_tool_calls: Whether there may be several tool calls; else only the first is kept.

    Returns:
        The response. ``raw["blend"]`` and ``additional_kwargs["blend"]`` are ``BlendResult.to_dict()``.
        ``raw["usage"]`` is the sum of all calls, ``raw["finish_reason"]`` says why the text ended.
    """
    return _response(result, cut_at_stop(result.text, stop), model, parallel_tool_calls)


class ResponseWriter:
    """Converts the events of a call to the pieces of a stream; made for one call.

    Each piece holds the text so far, and the new text as ``delta``. Only the last piece has tool calls, usage and the
    report.

    Args:
        model: The blend's name.
        stop: Stop sequences; the text ends before the first.
        parallel_tool_calls: Whether there may be several tool calls; else only the first is kept.
    """

    def __init__(self, model: str, stop: Sequence[str] = (), parallel_tool_calls: bool = True) -> None:
        self._model = model
        self._sequences = stop
        self._stop = StopFilter(stop)
        self._parallel = parallel_tool_calls
        self._text = ""
        self._taken_back = 0

    def pieces(self, event: BlendEvent) -> Iterator[ChatResponse]:
        """Yield the pieces of an event.

        Args:
            event: The next event.

        Yields:
            Pieces of text; at the end the whole response with an empty ``delta``.
        """
        if isinstance(event, Thought):
            yield self._piece("", {"thinking_delta": event.text})
        elif isinstance(event, Token):
            yield from self._send(self._stop.take(event.text))
        elif isinstance(event, FusionRejected):
            self._stop = StopFilter(self._sequences)
            if self._text:
                # the sent text cannot be undone, so the answer follows as a new paragraph
                self._taken_back = len(self._text)
                yield from self._send(_PARAGRAPH)
        elif isinstance(event, Finished):
            yield from self._send(self._stop.rest())
            last = _response(event.result, self._text, self._model, self._parallel)
            last.raw["blend"]["rejected_characters"] = self._taken_back  # type: ignore[index]
            last.delta = ""
            yield last

    def _send(self, text: str) -> Iterator[ChatResponse]:
        if text:
            self._text += text
            yield self._piece(text, {})

    def _piece(self, delta: str, keywords: dict[str, Any]) -> ChatResponse:
        message = ChatMessage(role=MessageRole.ASSISTANT, content=self._text)
        return ChatResponse(message=message, delta=delta, additional_kwargs=keywords)


def _response(result: BlendResult, text: str, model: str, parallel: bool) -> ChatResponse:
    calls = _call_blocks(result)
    calls = calls if parallel else calls[:1]
    blocks: list[Any] = [*_content(result, text), *calls]
    blocks = [*_thoughts(result), *(blocks or [TextBlock(text=text)])]
    # core's streamed structured output reads the calls here, not in the blocks
    keywords: dict[str, Any] = {"tool_calls": [_openai_form(call) for call in calls]} if calls else {}
    if own := own_turns(result):
        keywords[OWN_TURNS] = own
    report = result.to_dict()
    usage = _usage(result)
    return ChatResponse(
        message=ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=keywords),
        raw={
            "model": model,
            "finish_reason": result.finish_reason or "stop",
            "blend": report,
            **({"usage": usage} if usage else {}),
        },
        additional_kwargs={"blend": report, **usage},
    )


def _usage(result: BlendResult) -> dict[str, int]:
    """The usage of all calls, in the keys of LlamaIndex's token counting; empty if no call reported it."""
    used = result.usage
    if not used.total_tokens and not result.usage_known:
        return {}
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.total_tokens,
    }


def _call_blocks(result: BlendResult) -> list[ToolCallBlock]:
    if result.answer is None:
        return []
    return [
        ToolCallBlock(
            tool_name=call.name,
            tool_kwargs=dict(call.arguments),
            tool_call_id=call.id or f"call_{uuid.uuid4().hex[:24]}",
        )
        for call in result.answer.tool_calls
    ]


def _openai_form(call: ToolCallBlock) -> dict[str, Any]:
    arguments = json.dumps(call.tool_kwargs, ensure_ascii=False, default=str)
    return {
        "id": call.tool_call_id,
        "type": "function",
        "function": {"name": call.tool_name, "arguments": arguments},
    }


def _thoughts(result: BlendResult) -> list[ThinkingBlock]:
    """Thoughts of the model that wrote the text; marked, so that no other member gets them."""
    if not result.thoughts:
        return []
    mark = {MEMBER_KEY: result.fuser or result.winner}
    native = _native(result)
    own = [] if native is None else [block for block in native.message.blocks if isinstance(block, ThinkingBlock)]
    signed = [block for block in own if block.content and isinstance(block.additional_information.get(_SIGNATURE), str)]
    if not signed:
        return [ThinkingBlock(content=result.thoughts, additional_information=mark)]
    # Anthropic refuses a thought without its signature, also if the history goes on outside of the blend
    keys = [{**mark, _SIGNATURE: block.additional_information[_SIGNATURE]} for block in signed]
    return [
        ThinkingBlock(content=block.content, additional_information=key)
        for block, key in zip(signed, keys, strict=True)
    ]


def _content(result: BlendResult, text: str) -> list[ContentBlock]:
    """The text, and the other content of a picked answer."""
    native = _native(result)
    others = [] if native is None else other_blocks(native.message)
    if native is not None and others and text and text == native.message.content:
        # a citation follows the text that it belongs to
        return [block for block in native.message.blocks if isinstance(block, TextBlock) or block in others]
    return [*([TextBlock(text=text)] if text else []), *others]


def _native(result: BlendResult) -> ChatResponse | None:
    native = None if result.answer is None else result.answer.native
    return native if isinstance(native, ChatResponse) else None

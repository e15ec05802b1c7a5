"""Convert the engine's result to a LangChain message, whole or in chunks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCall as LangChainToolCall
from langchain_core.messages.tool import ToolCallChunk, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from blender_core.events import BlendEvent, Finished, FusionRejected, Thought, Token
from blender_core.text.stop_sequences import StopFilter, cut_at_stop
from blender_core.types.result import BlendResult
from langchain_blender.caching import WHOLE, is_whole
from langchain_blender.messages import usage_metadata
from langchain_blender.own_turns import OWN_TURNS, PRIVATE_KEYS, own_turns
from langchain_blender.report import Report, response_metadata

__all__ = ["ChunkWriter", "blended_message", "summed_usage"]

# keys and blocks that only the provider that made them understands, that belong to a stream, or that are elsewhere
_PRIVATE_KEYS = PRIVATE_KEYS | {"id", "index"}
_PRIVATE_BLOCKS = frozenset(
    {
        "invalid_tool_call",
        "non_standard",
        "reasoning",
        "server_tool_call",
        "server_tool_call_chunk",
        "server_tool_result",
        "tool_call",
        "tool_call_chunk",
    }
)
_PARAGRAPH = "\n\n"
_PIECE_CHARACTERS = 24


def blended_message(result: BlendResult, *, model_name: str, stop: Sequence[str], report: Report = "slim") -> AIMessage:
    """Convert the result of a call to a message.

    A picked answer keeps its text, tool calls and standard content blocks; a fused text has none. The thoughts of the
    model that wrote the text are ``reasoning_content`` of ``additional_kwargs``, which ``content_blocks`` reads: OpenAI
    refuses a reasoning block that is not its own. Citations stay if the text is exactly the member's.
    Signatures, ids and keywords that only one provider understands are in the metadata, for the member that needs them
    back (``own_turns``).

    Args:
        result: The result.
        model_name: The blend's name.
        stop: Stop sequences; the text ends before the first.
        report: How much of the report is in ``response_metadata["blend"]``.

    Returns:
        A new message without an id. The usage is the sum of all calls.
    """
    text, calls = cut_at_stop(result.text, stop), _tool_calls(result)
    return AIMessage(
        content=_content(result, text),
        additional_kwargs=_thoughts(result),
        tool_calls=calls,
        invalid_tool_calls=_broken_calls(result),
        usage_metadata=summed_usage(result),
        response_metadata=response_metadata(result, model_name, report) | _own_turns(result, text, calls),
    )


class ChunkWriter:
    """Converts the events of a call to chunks; made for one call.

    Only the last chunk has usage and metadata, so that adding chunks counts them once. Streamed text has no
    citations; whole messages have. Thoughts are ``reasoning_content`` of chunks before the text.

    Args:
        model_name: The blend's name.
        stop: Stop sequences; the text ends before the first.
        report: How much of the report is in the metadata.
    """

    def __init__(self, model_name: str, stop: Sequence[str], report: Report = "slim") -> None:
        self._model_name = model_name
        self._report: Report = report
        self._stop = StopFilter(stop)
        self._sequences = stop
        self._sent = 0
        self._taken_back = 0
        self._thought = False
        self._gap = ""

    def chunks(self, event: BlendEvent) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of an event.

        Args:
            event: The next event.

        Yields:
            Chunks of text; at the end other content, tool calls, then the last chunk.
        """
        if isinstance(event, Thought):
            thoughts, self._gap, self._thought = self._gap + event.text, "", True
            yield ChatGenerationChunk(
                message=AIMessageChunk(content="", additional_kwargs={"reasoning_content": thoughts})
            )
        elif isinstance(event, Token):
            yield from self._text(self._stop.take(event.text))
        elif isinstance(event, FusionRejected):
            self._stop = StopFilter(self._sequences)
            self._gap, self._thought = _PARAGRAPH if self._thought else "", False
            if self._sent:
                # the sent text cannot be undone, so the answer follows as a new paragraph
                self._taken_back = self._sent
                yield from self._text(_PARAGRAPH)
        elif isinstance(event, Finished):
            yield from self._text(self._stop.rest())
            yield from self._end(event.result)

    def _text(self, text: str) -> Iterator[ChatGenerationChunk]:
        if text:
            self._sent += len(text)
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))

    def _end(self, result: BlendResult) -> Iterator[ChatGenerationChunk]:
        if blocks := _other_blocks(result):
            yield ChatGenerationChunk(message=AIMessageChunk(content=[*blocks]))
        calls = _tool_calls(result)
        for index, call in enumerate(calls):
            for piece in _pieces_of_call(call, index):
                yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[piece]))
        for index, broken in enumerate(_broken_calls(result)):
            piece = tool_call_chunk(name=broken["name"], args=broken["args"], id=broken["id"], index=index)
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[piece]))
        text = cut_at_stop(result.text, self._sequences)
        metadata = response_metadata(result, self._model_name, self._report) | _own_turns(result, text, calls)
        if metadata["blend"]:
            metadata["blend"]["rejected_characters"] = self._taken_back
        last = AIMessageChunk(
            content="",
            additional_kwargs={} if self._thought else _thoughts(result),
            usage_metadata=summed_usage(result),
            response_metadata=metadata,
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last, generation_info={WHOLE: is_whole(result)})


def summed_usage(result: BlendResult) -> UsageMetadata | None:
    """Return the usage of all calls: members, judges and fuser together.

    Args:
        result: The result.

    Returns:
        The sum with its details; ``None`` if no call reported its usage.
    """
    if not result.usage.total_tokens and not result.usage_known:
        return None
    # no cost, which is in the metadata: langchain-core cannot add two usages with a cost
    return usage_metadata(result.usage)


def _own_turns(result: BlendResult, text: str, calls: Sequence[LangChainToolCall]) -> dict[str, Any]:
    turns = own_turns(result, text, calls)
    # an empty entry still marks thoughts as a blend's, which other members must not get
    return {OWN_TURNS: turns} if turns or result.thoughts else {}


def _tool_calls(result: BlendResult) -> list[LangChainToolCall]:
    if result.answer is None:
        return []
    return [
        tool_call(name=call.name, args=dict(call.arguments), id=call.id or f"call_{uuid.uuid4().hex[:24]}")
        for call in result.answer.tool_calls
    ]


def _broken_calls(result: BlendResult) -> list[InvalidToolCall]:
    """Calls of a picked answer that cannot be read; agents tell the model of them."""
    native = _native(result)
    return [] if native is None or native.tool_calls else list(native.invalid_tool_calls)


def _pieces_of_call(call: LangChainToolCall, index: int) -> Iterator[ToolCallChunk]:
    """The call in pieces, so that a parser can show a part of the object."""
    arguments = json.dumps(call["args"], ensure_ascii=False)
    yield tool_call_chunk(name=call["name"], args=arguments[:_PIECE_CHARACTERS], id=call["id"], index=index)
    for start in range(_PIECE_CHARACTERS, len(arguments), _PIECE_CHARACTERS):
        piece = arguments[start : start + _PIECE_CHARACTERS]
        yield tool_call_chunk(name=None, args=piece, id=None, index=index)


def _native(result: BlendResult) -> AIMessage | None:
    native = None if result.answer is None else result.answer.native
    return native if isinstance(native, AIMessage) else None


def _content(result: BlendResult, text: str) -> Any:
    """A text; or blocks, if there is other content or a text with citations."""
    blocks = _blocks(result)
    written = [block for block in blocks if block["type"] == "text"]
    others = _other_blocks(result)
    unchanged = "".join(block["text"] for block in written) == text
    if unchanged and (others or any("annotations" in block for block in written)):
        return blocks
    if not others:
        return text
    return [*([{"type": "text", "text": text}] if text else []), *others]


def _other_blocks(result: BlendResult) -> list[dict[str, Any]]:
    """Content blocks of a picked answer that are no text: images, sound, files."""
    return [block for block in _blocks(result) if block["type"] != "text"]


def _blocks(result: BlendResult) -> list[dict[str, Any]]:
    """Content blocks of a picked answer without thoughts; empty if its content is a text."""
    native = _native(result)
    if native is None or isinstance(native.content, str):
        return []
    kept = [_text_block(block) if block["type"] == "text" else _public(block) for block in native.content_blocks]
    return [block for block in kept if block and block["type"] not in _PRIVATE_BLOCKS]


def _text_block(block: Any) -> dict[str, Any]:
    """A text block with its citations; empty if there is no text."""
    text = block.get("text")
    if not isinstance(text, str) or not text:
        return {}
    cited = [_public(mark) for mark in block.get("annotations") or () if _is_citation(mark)]
    return {"type": "text", "text": text, **({"annotations": cited} if cited else {})}


def _is_citation(mark: Any) -> bool:
    return isinstance(mark, dict) and mark.get("type") == "citation"


def _public(block: Any) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key not in _PRIVATE_KEYS}


def _thoughts(result: BlendResult) -> dict[str, Any]:
    """Thoughts of the model that wrote the text."""
    return {"reasoning_content": result.thoughts} if result.thoughts else {}

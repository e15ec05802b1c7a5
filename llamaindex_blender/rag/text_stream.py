"""The text of a blend's events, piece by piece."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import cast

from blender_core.events import BlendEvent, Finished, FusionRejected, Token
from blender_core.rag import GroundedResult
from blender_core.runtime.contexts import aiterate_in_context, iterate_in_context

__all__ = ["StreamedText", "astream_text", "stream_text"]

_PARAGRAPH = "\n\n"


class StreamedText:
    """Turns the events of one call into text. Made for one call.

    Should a fusion be refused after part of it was sent, the best answer follows as a new paragraph.

    Args:
        finish: Called at the end with the result, and how many characters of a refused fusion were sent before it.
    """

    def __init__(self, finish: Callable[[GroundedResult, int], None]) -> None:
        self._finish = finish
        self._sent = 0
        self._rejected = 0

    def pieces(self, event: BlendEvent) -> Iterator[str]:
        """The text that an event brings.

        Args:
            event: The event.

        Yields:
            Text, never empty.
        """
        if isinstance(event, Token) and event.text:
            self._sent += len(event.text)
            yield event.text
        elif isinstance(event, FusionRejected) and self._sent:
            self._rejected = self._sent
            yield _PARAGRAPH
        elif isinstance(event, Finished):
            self._finish(cast(GroundedResult, event.result), self._rejected)


def stream_text(
    events: Iterator[BlendEvent], writer: StreamedText, context: contextvars.Context
) -> Generator[str, None, None]:
    """Stream a call, blocking.

    Args:
        events: Events of a blender, not begun.
        writer: The writer made for this call.
        context: Where the call runs: the engine takes the context of the first step with it.

    Yields:
        Text.
    """
    with contextlib.closing(iterate_in_context(events, context)) as stream:
        for event in stream:
            yield from writer.pieces(event)


async def astream_text(
    events: AsyncIterator[BlendEvent], writer: StreamedText, context: contextvars.Context
) -> AsyncGenerator[str, None]:
    """Stream a call; see ``stream_text``."""
    async with contextlib.aclosing(aiterate_in_context(events, context)) as stream:
        async for event in stream:
            for piece in writer.pieces(event):
                yield piece

"""Stream the text of a blend's events."""

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
    """Converts the events of one call to text; made for one call.

    If a fusion is rejected after a part of it was sent, the best answer follows as a new paragraph.

    Args:
        finish: Called at the end with the result, and the number of characters sent of a rejected fusion.
    """

    def __init__(self, finish: Callable[[GroundedResult, int], None]) -> None:
        self._finish = finish
        self._sent = 0
        self._rejected = 0

    def pieces(self, event: BlendEvent) -> Iterator[str]:
        """Yield the text of an event.

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
        events: Events of a blender that has not started.
        writer: The writer of this call.
        context: The context in which the call runs.

    Yields:
        Text.
    """
    with contextlib.closing(iterate_in_context(events, context)) as stream:
        for event in stream:
            yield from writer.pieces(event)


async def astream_text(
    events: AsyncIterator[BlendEvent], writer: StreamedText, context: contextvars.Context
) -> AsyncGenerator[str, None]:
    """Stream a call without blocking the event loop; see ``stream_text``."""
    async with contextlib.aclosing(aiterate_in_context(events, context)) as stream:
        async for event in stream:
            for piece in writer.pieces(event):
                yield piece

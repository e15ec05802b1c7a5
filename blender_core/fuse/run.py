"""Run a fuser under a time limit, with the guard looking on, streamed or whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from blender_core.concurrency import call_in_thread, iterate_in_thread
from blender_core.errors import FusionError
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.protocol import FusedText, Fuser, FusionInput

__all__ = ["FusionRefused", "run_fusion"]

# a stream is held back until this much can be judged, and judged again each time it has grown by as much
_HOLD_CHARACTERS = 120


class FusionRefused(Exception):
    """The fused text is not used.

    Args:
        reason: Why, in words.
        streamed: Characters of it that had already been sent.
        fused: The refused text where it was complete; its usage was spent all the same.
    """

    def __init__(self, reason: str, streamed: int = 0, fused: FusedText | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.streamed = streamed
        self.fused = fused


async def run_fusion(
    fuser: Fuser,
    request: FusionInput,
    *,
    guard: FusionGuard,
    limit_s: float | None,
    emit_token: Callable[[str], None] | None,
    in_threads: bool,
) -> FusedText:
    """Fuse.

    Args:
        fuser: The fuser; its ``stream``, ``astream`` and ``afuse`` are used where they exist and fit.
        request: The prompt and the candidates.
        guard: Judges the text.
        limit_s: Seconds the fuser gets; ``None`` is no limit.
        emit_token: Takes pieces of text as they come; ``None`` asks for the whole.
        in_threads: The caller is synchronous: prefer the fuser's synchronous methods.

    Returns:
        The fused text; what was streamed adds up to it.

    Raises:
        FusionRefused: It failed, was late, or the guard refused it.
    """
    streamed = _Streamed(guard, request, emit_token)
    try:
        async with asyncio.timeout(limit_s):
            pieces = None if emit_token is None else _pieces(fuser, request, in_threads)
            if pieces is not None:
                return await streamed.collect(fuser, pieces)
            fused = await _whole(fuser, request, in_threads)
    except FusionRefused:
        raise
    except TimeoutError as error:
        waited = "in time" if limit_s is None else f"within {limit_s:.3g} s"
        raise FusionRefused(f"{fuser.name} was not done {waited}", streamed.sent) from error
    except Exception as error:
        raise FusionRefused(f"{fuser.name}: {type(error).__name__}: {error}", streamed.sent) from error
    problem = guard.check(fused.text, request.candidates)
    if problem is not None:
        raise FusionRefused(f"the guard refused the fused text: {problem}", fused=fused)
    if emit_token is not None:
        emit_token(fused.text)
    return fused


async def _whole(fuser: Fuser, request: FusionInput, in_threads: bool) -> FusedText:
    afuse = getattr(fuser, "afuse", None)
    if afuse is not None and not in_threads:
        return await afuse(request)  # type: ignore[no-any-return]
    return await call_in_thread(fuser.fuse, request)


def _pieces(fuser: Fuser, request: FusionInput, in_threads: bool) -> AsyncIterator[str | FusedText] | None:
    astream: Any = getattr(fuser, "astream", None)
    stream: Any = getattr(fuser, "stream", None)
    if astream is not None and not (in_threads and stream is not None):
        return astream(request)  # type: ignore[no-any-return]
    if stream is not None:
        return iterate_in_thread(lambda: stream(request))
    return None


class _Streamed:
    """A fused text on its way out."""

    def __init__(self, guard: FusionGuard, request: FusionInput, emit_token: Callable[[str], None] | None) -> None:
        self._guard = guard
        self._candidates = request.candidates
        self._emit = emit_token
        self._text = ""
        self._judged = 0
        self.sent = 0

    async def collect(self, fuser: Fuser, pieces: AsyncIterator[str | FusedText]) -> FusedText:
        result: FusedText | None = None
        async with aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                if isinstance(piece, FusedText):
                    result = piece
                elif piece:
                    self._take(piece)
        if result is None:
            raise FusionError("the stream ended without its result")
        fused = FusedText(self._text, result.fuser, result.usage, result.cost, result.cut)
        self._judge(fused)
        self._release()
        return fused

    def _take(self, piece: str) -> None:
        # white space at the start of a model's text is not part of the answer
        self._text += piece if self._text else piece.lstrip()
        if len(self._text) - self._judged >= _HOLD_CHARACTERS:
            self._judge()
            self._judged = len(self._text)
        if self._judged:
            self._release()

    def _judge(self, fused: FusedText | None = None) -> None:
        problem = self._guard.check(self._text, self._candidates, complete=fused is not None)
        if problem is not None:
            raise FusionRefused(f"the guard refused the fused text: {problem}", self.sent, fused)

    def _release(self) -> None:
        if self._emit is not None and len(self._text) > self.sent:
            self._emit(self._text[self.sent :])
            self.sent = len(self._text)

"""Run a fuser under a time limit, with the guard looking on, streamed or whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from blender_core.errors import FusionError
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.protocol import FusedText, Fuser, FusionInput
from blender_core.gather.semaphore import SharedSemaphore
from blender_core.runtime.threads import call_in_thread, compute_in_thread, drain, iterate_in_thread, retrieve
from blender_core.types.answer import ended_by_length

__all__ = ["FusionRefused", "run_fusion"]

# a stream is held back until this much can be judged
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
    semaphore: SharedSemaphore | None = None,
    may_be_cut: bool = False,
) -> FusedText:
    """Fuse.

    Args:
        fuser: The fuser; its ``stream``, ``astream`` and ``afuse`` are used where they exist and fit.
        request: The prompt and the candidates.
        guard: Judges the text.
        limit_s: Seconds the fuser gets; ``None`` is no limit.
        emit_token: Takes pieces of text as they come; ``None`` asks for the whole.
        in_threads: The caller is synchronous: prefer the fuser's synchronous methods.
        semaphore: Limits how many members and fusers run at once; waiting for one counts into the limit.
        may_be_cut: Whether a text that a limit of tokens cut off is used; for where the best candidate was, too.

    Returns:
        The fused text; what was streamed adds up to it.

    Raises:
        FusionRefused: It failed, was late, or the guard refused it.
    """
    judge = _Judge(guard, request.candidates, may_be_cut)
    streamed = _Streamed(judge, emit_token)
    pieces = None if emit_token is None else _pieces(fuser, request, in_threads)
    work = _whole(fuser, request, judge, in_threads) if pieces is None else streamed.collect(pieces)
    task = asyncio.create_task(_in_slot(work, semaphore))
    # where this call is cancelled in the moment in which the task ends, nobody else reads how
    task.add_done_callback(retrieve)
    try:
        await asyncio.wait([task], timeout=limit_s)
    finally:
        late = not task.done()
        streamed.closed = late
        # a fuser that does not heed its cancellation is left behind
        await drain([task] if late else [])
    if late:
        waited = "in time" if limit_s is None else f"within {limit_s:.3g} s"
        raise FusionRefused(f"{fuser.name} was not done {waited}", streamed.sent)
    try:
        fused = task.result()
    except FusionRefused:
        raise
    except (Exception, asyncio.CancelledError) as error:
        raise FusionRefused(f"{fuser.name}: {type(error).__name__}: {error}", streamed.sent) from error
    if emit_token is not None and pieces is None:
        emit_token(fused.text)
    return fused


async def _in_slot(work: Coroutine[Any, Any, FusedText], semaphore: SharedSemaphore | None) -> FusedText:
    try:
        async with semaphore or nullcontext():
            return await work
    except (asyncio.CancelledError, KeyboardInterrupt, Exception):
        raise
    except BaseException as error:
        # a task must not end with these: they would end the loop
        raise FusionError(f"{type(error).__name__} was raised: {error}") from error
    finally:
        # never begun where no slot came free
        work.close()


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says why a fused text must not be used, or ``None``."""

    guard: FusionGuard
    candidates: tuple[str, ...]
    may_be_cut: bool

    def beginning(self, text: str) -> str | None:
        return self.guard.check(text, self.candidates, complete=False)

    def whole(self, fused: FusedText) -> str | None:
        if ended_by_length(fused.finish_reason) and not self.may_be_cut:
            return f"it was cut off (finish reason {fused.finish_reason!r}); let the fuser write more tokens"
        return self.guard.check(fused.text, self.candidates)


async def _whole(fuser: Fuser, request: FusionInput, judge: _Judge, in_threads: bool) -> FusedText:
    afuse = getattr(fuser, "afuse", None)
    if afuse is not None and not in_threads:
        fused = await afuse(request)
    else:
        in_thread = compute_in_thread if _computes(fuser) else call_in_thread
        fused = await in_thread(lambda: fuser.fuse(request))
    if not isinstance(fused, FusedText) or not isinstance(fused.text, str):
        raise FusionError(f"it returned {type(fused).__name__} where a FusedText with a text was wanted")
    fused = replace(fused, text=fused.text.strip())
    problem = judge.whole(fused)
    if problem is not None:
        raise FusionRefused(f"the guard refused the fused text: {problem}", fused=fused)
    return fused


def _pieces(fuser: Fuser, request: FusionInput, in_threads: bool) -> AsyncIterator[str | FusedText] | None:
    astream: Any = getattr(fuser, "astream", None)
    stream: Any = getattr(fuser, "stream", None)
    if astream is not None and not (in_threads and stream is not None):
        return astream(request)  # type: ignore[no-any-return]
    if stream is not None:
        return iterate_in_thread(lambda: stream(request), computes=_computes(fuser))
    return None


def _computes(fuser: Fuser) -> bool:
    return bool(getattr(fuser, "computes_locally", False))


class _Streamed:
    """A fused text on its way out."""

    def __init__(self, judge: _Judge, emit_token: Callable[[str], None] | None) -> None:
        self._judge = judge
        self._emit = emit_token
        self._text = ""
        self._judged = 0
        self.sent = 0
        self.closed = False

    async def collect(self, pieces: AsyncIterator[str | FusedText]) -> FusedText:
        result: FusedText | None = None
        async with aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                if isinstance(piece, FusedText):
                    result = piece
                elif piece:
                    self._take(piece)
        if result is None:
            raise FusionError("the stream ended without its result")
        self._text = self._text.rstrip() if len(self._text.rstrip()) >= self.sent else self._text
        fused = replace(result, text=self._text)
        self._refuse_if(self._judge.whole(fused), fused)
        self._release()
        return fused

    def _take(self, piece: str) -> None:
        # white space at the start of a model's text is not part of the answer
        self._text += piece if self._text else piece.lstrip()
        # the step grows with the text, so that judging stays linear
        if len(self._text) - self._judged >= max(_HOLD_CHARACTERS, self._judged // 2):
            self._refuse_if(self._judge.beginning(self._text))
            self._judged = len(self._text)
        if self._judged:
            self._release()

    def _refuse_if(self, problem: str | None, fused: FusedText | None = None) -> None:
        if problem is not None:
            raise FusionRefused(f"the guard refused the fused text: {problem}", self.sent, fused)

    def _release(self) -> None:
        if self._emit is not None and not self.closed and len(self._text) > self.sent:
            self._emit(self._text[self.sent :])
            self.sent = len(self._text)

"""Run a fuser under a time limit and check its text, streamed or whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from blender_core.errors import FusionError
from blender_core.events import Thought, Token
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.protocol import FusedText, Fuser, FusionInput
from blender_core.members.classify import classify
from blender_core.rank.flaws import find_flaws
from blender_core.runtime.blocking import WatchedSteps
from blender_core.runtime.program_end import PROGRAM_ENDS, ProgramEnd, carrying
from blender_core.runtime.semaphore import SharedSemaphore, Slot
from blender_core.runtime.threads import CHECKS, call_in_thread, compute_in_thread, drain, iterate_in_thread, retrieve
from blender_core.types.answer import Answer, ended_by_length
from blender_core.types.returned import checked_cost, checked_cut, checked_reason, checked_text, checked_usage

__all__ = ["RejectedFusionError", "run_fusion"]

# a stream is held back until this much can be checked; longer if its first words may begin a text that is refused
_OPENING_CHARACTERS = 24
_HOLD_CHARACTERS = 120


class RejectedFusionError(Exception):
    """The fused text is not used. The pipeline catches this, users never see it.

    Args:
        reason: The reason.
        streamed: Characters of the text that were already sent.
        fused: The rejected text if it was complete, because its usage counts.
        fault: Whether the fuser failed; else it wrote a text that must not be used.
    """

    def __init__(self, reason: str, streamed: int = 0, fused: FusedText | None = None, *, fault: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.streamed = streamed
        self.fused = fused
        self.fault = fault


async def run_fusion(
    fuser: Fuser,
    request: FusionInput,
    *,
    guard: FusionGuard,
    limit_s: float | None,
    emit: Callable[[Thought | Token], None] | None,
    in_threads: bool,
    semaphore: SharedSemaphore | None = None,
    may_be_cut: bool = False,
    blocked: Callable[[float], None] = lambda _seconds: None,
) -> FusedText:
    """Fuse the candidates and check the text.

    Args:
        fuser: The fuser. Its ``stream``, ``astream`` and ``afuse`` are used if they exist and fit the call.
        request: The prompt and the candidates.
        guard: Checks the text.
        limit_s: Seconds for the fuser, waiting for the semaphore included; ``None`` is no limit.
        emit: Called with each piece of text and thoughts; ``None`` asks for the whole text.
        in_threads: Whether the caller is synchronous. Then the fuser's synchronous methods are preferred.
        semaphore: Limits how many members and fusers run at once.
        may_be_cut: Whether to accept a text that a token limit cut off, because the best candidate was cut off too.
        blocked: Told the seconds in which the fuser blocked the event loop, if it did.

    Returns:
        The fused text. The pieces sent add up to it.

    Raises:
        RejectedFusionError: The fuser failed or timed out, or the guard rejected its text.
    """
    if request.conversation is not None:
        request = replace(request, conversation=replace(request.conversation, time_limit_s=limit_s))
    check = _Check(guard, request, may_be_cut)
    streamed = _Streamed(check, emit)
    pieces = None if emit is None else _pieces(fuser, request, in_threads)
    work = _whole(fuser, request, check, in_threads) if pieces is None else streamed.collect(pieces)
    fusing = _Fusing(work, semaphore)
    task = asyncio.create_task(carrying(fusing.run))
    # nobody else reads the task's error if this call is cancelled while the task ends
    task.add_done_callback(retrieve)
    try:
        await asyncio.wait([task], timeout=limit_s)
    finally:
        late = not task.done()
        streamed.closed = late
        # a fuser that ignores its cancellation is abandoned, and keeps no slot
        try:
            await drain([task] if late else [])
        finally:
            fusing.free_slot()
    if fusing.work.blocked_s:
        blocked(fusing.work.blocked_s)
    if late:
        waited = "in time" if limit_s is None else f"within {limit_s:.3g} s"
        raise RejectedFusionError(f"{fuser.name} was not done {waited}", streamed.sent, fault=True)
    try:
        fused = task.result()
    except RejectedFusionError:
        raise
    except (Exception, asyncio.CancelledError) as error:
        raise RejectedFusionError(f"{fuser.name}: {classify(error).reason}", streamed.sent, fault=True) from error
    if emit is not None and pieces is None:
        if fused.thoughts:
            emit(Thought(fused.thoughts))
        emit(Token(fused.text))
    return fused


class _Fusing:
    """Holds a slot while the fuser works."""

    def __init__(self, work: Coroutine[Any, Any, FusedText], semaphore: SharedSemaphore | None) -> None:
        self._coroutine = work
        self._semaphore = semaphore
        self._slot: Slot | None = None
        self.work = WatchedSteps(work)

    async def run(self) -> FusedText:
        try:
            if self._semaphore is not None:
                self._slot = await self._semaphore.acquire()
            return await self.work
        except (asyncio.CancelledError, *PROGRAM_ENDS, ProgramEnd, Exception):
            raise
        except BaseException as error:
            # in a task these would end the event loop
            raise FusionError(f"{type(error).__name__} was raised: {error}") from error
        finally:
            self.free_slot()
            # it never started if no slot came free
            self._coroutine.close()

    def free_slot(self) -> None:
        if self._slot is not None:
            self._slot.free()


@dataclass(frozen=True, slots=True)
class _Check:
    """Says why a fused text cannot be used, or ``None``. It runs in a thread: texts may be huge, a guard slow."""

    guard: FusionGuard
    request: FusionInput
    may_be_cut: bool

    async def beginning(self, text: str) -> str | None:
        return await self._in_thread(lambda: self.guard.check(text, self.request.candidates, complete=False))

    async def whole(self, fused: FusedText) -> str | None:
        if ended_by_length(fused.finish_reason) and not self.may_be_cut:
            return f"it was cut off (finish reason {fused.finish_reason!r}); let the fuser write more tokens"
        return await self._in_thread(lambda: self._of_text(fused.text))

    async def _in_thread(self, check: Callable[[], str | None]) -> str | None:
        # a guard of the user's own may hang, so it must not hold a turn
        return await compute_in_thread(check, turns=CHECKS if type(self.guard) is FusionGuard else None)

    def _of_text(self, text: str) -> str | None:
        return self.guard.check(text, self.request.candidates) or self._flaw(text)

    def _flaw(self, text: str) -> str | None:
        if self.request.conversation is None:
            return None
        flaw, best = find_flaws(self.request.conversation, [Answer(text), Answer(self.request.candidates[0])])
        return f"it is {flaw.reason}" if flaw.severity > best.severity else None


async def _whole(fuser: Fuser, request: FusionInput, check: _Check, in_threads: bool) -> FusedText:
    afuse = getattr(fuser, "afuse", None)
    if afuse is not None and not in_threads:
        fused = await afuse(request)
    elif _computes(fuser):
        fused = await compute_in_thread(lambda: fuser.fuse(request))
    else:
        fused = await call_in_thread(fuser.fuse, request)
    fused = _checked(fused, request)
    fused = replace(fused, text=fused.text.strip())
    problem = await check.whole(fused)
    if problem is not None:
        raise RejectedFusionError(f"the guard rejected the fused text: {problem}", fused=fused)
    return fused


def _checked(fused: object, request: FusionInput) -> FusedText:
    """Check what a fuser returned; numbers become plain ones."""
    if not isinstance(fused, FusedText) or not isinstance(fused.text, str):
        raise FusionError(f"it returned {type(fused).__name__} where a FusedText with a text was wanted")
    try:
        return replace(
            fused,
            fuser=checked_text("fuser", fused.fuser) or "",
            usage=checked_usage(fused.usage),
            cost=checked_cost(fused.cost),
            cut=checked_cut(fused.cut, len(request.candidates)),
            finish_reason=checked_reason(fused.finish_reason),
            thoughts=checked_text("thoughts", fused.thoughts) or "",
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise FusionError(f"the fused text's {error}") from error


def _pieces(fuser: Fuser, request: FusionInput, in_threads: bool) -> AsyncIterator[str | Thought | FusedText] | None:
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
    """Collects a streamed text and sends on the part that passed the check."""

    def __init__(self, check: _Check, emit: Callable[[Thought | Token], None] | None) -> None:
        self._check = check
        self._emit = emit
        # pieces, joined for a check only: adding each to the text would copy it each time
        self._pieces: list[str] = []
        self._length = 0
        self._held: list[str] = []
        self._checked = 0
        self.sent = 0
        self.closed = False

    async def collect(self, pieces: AsyncIterator[str | Thought | FusedText]) -> FusedText:
        result: FusedText | None = None
        async with aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                if isinstance(piece, FusedText):
                    result = piece
                elif isinstance(piece, Thought):
                    self._send(Thought(checked_text("thought", piece.text) or ""))
                elif piece:
                    await self._take(piece)
        if result is None:
            raise FusionError("the stream ended without its result")
        text = self._text()
        text = text.rstrip() if len(text.rstrip()) >= self.sent else text
        fused = replace(_checked(result, self._check.request), text=text)
        self._reject_if(await self._check.whole(fused), fused)
        self._held = [text[self.sent :]]
        self._release()
        return fused

    async def _take(self, piece: str) -> None:
        # white space at the start of a model's text is not part of the answer
        piece = piece if self._length else piece.lstrip()
        self._pieces.append(piece)
        self._held.append(piece)
        self._length += len(piece)
        # the step grows with the text, so that all checks together stay linear
        due = self._length - self._checked >= max(_HOLD_CHARACTERS, self._checked // 2)
        if due or (not self._checked and self._opens_well()):
            self._reject_if(await self._check.beginning(self._text()))
            self._checked = self._length
        if self._checked:
            self._release()

    def _text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def _opens_well(self) -> bool:
        return self._length >= _OPENING_CHARACTERS and not self._check.guard.suspects(self._text())

    def _reject_if(self, problem: str | None, fused: FusedText | None = None) -> None:
        if problem is not None:
            raise RejectedFusionError(f"the guard rejected the fused text: {problem}", self.sent, fused)

    def _release(self) -> None:
        text = "".join(self._held)
        if text and self._send(Token(text)):
            self.sent += len(text)
            self._held = []

    def _send(self, event: Thought | Token) -> bool:
        if self._emit is None or self.closed:
            return False
        self._emit(event)
        return True

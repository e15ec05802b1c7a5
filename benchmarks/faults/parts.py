"""Define the parts of a chaos schedule: members, fusers, rankers, priors and judgements that follow a plan."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from faults.world import World

from blender_core import Answer, Member, Prompt, Ranking, ToolCall, Usage
from blender_core.errors import EmptyAnswerError, MemberTimeoutError, RateLimitedError, RefusedError
from blender_core.fuse import Decision, FusedText, FusionGuard, FusionInput
from blender_core.types.answer import Price

__all__ = [
    "FUSER_FORMS",
    "Act",
    "AsyncMember",
    "BlockingMember",
    "Panic",
    "PlannedPrior",
    "PlannedRanker",
    "make_accept",
    "make_fuse_when",
    "make_fuser",
    "make_guard",
]

FUSER_FORMS = ("fuse", "afuse", "stream", "astream")
_LABEL = re.compile(r'<answer label="(\w+)">')


class Panic(BaseException):
    """What an extension module raises when it panics."""


class Mute(Exception):
    """An error whose message cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@dataclass(frozen=True, slots=True)
class Act:
    """Says what a part does in one call.

    Attributes:
        what: ``"answer"``, or the name of a fault.
        seconds: Virtual seconds before it; ``None`` is for ever.
        swallows: Cancellations that it ignores; -1 for all.
        text: The answer's text.
    """

    what: str = "answer"
    seconds: float | None = 0.0
    swallows: int = 0
    text: str = "A plain answer."


_ERRORS: dict[str, Callable[[], BaseException]] = {
    "reset": lambda: ConnectionResetError("gone"),
    "quota": lambda: RateLimitedError("slow down", retry_after=0.3),
    "long quota": lambda: RateLimitedError("slow down", retry_after=90.0),
    "timeout": lambda: MemberTimeoutError("too slow"),
    "own timeout": lambda: TimeoutError("read"),
    "refused": lambda: RefusedError("no"),
    "wrong": lambda: ValueError("bad request"),
    "mute": lambda: Mute(),
    "panic": lambda: Panic("core dumped"),
    "group": lambda: BaseExceptionGroup("several", [Panic("core dumped")]),
    "generator exit": lambda: GeneratorExit(),
    "cancelled inside": lambda: asyncio.CancelledError(),
    "stop": lambda: StopIteration("end"),
    "nothing said": lambda: EmptyAnswerError("nothing"),
}
_USAGE = Usage(20, 10)
_ANSWERS: dict[str, Callable[[str], Any]] = {
    "answer": lambda text: Answer(text, usage=_USAGE, finish_reason="stop"),
    "no usage": lambda text: Answer(text),
    "cut": lambda text: Answer(text, usage=_USAGE, finish_reason="length"),
    "broken off": lambda text: Answer(text, usage=_USAGE, finish_reason="error"),
    "thoughts": lambda text: Answer(text, usage=_USAGE, thoughts="Let me think about it."),
    "filtered": lambda _: Answer("", refusal="filtered"),
    "empty": lambda _: Answer("  ", usage=_USAGE),
    "tools": lambda _: Answer("", (ToolCall("look", {"at": [1, {"b": None}]}, "call_1"),), usage=_USAGE),
    "none": lambda _: None,
    "bare text": lambda text: text,
    "odd text": lambda _: Answer(7),  # type: ignore[arg-type]
}
MEMBER_FAULTS = (*_ERRORS, *(name for name in _ANSWERS if name != "answer"))


class _Planned(Member):
    """Follows its acts, one a call; the last repeats. A judge's and a fuser's prompts are answered, too."""

    def __init__(self, world: World, name: str, acts: Sequence[Act], log: Callable[[str, Prompt], None]) -> None:
        super().__init__(name, price=Price(1.0, 1.0))
        self._world = world
        self._acts = acts
        self._log = log
        self._calls = 0

    def _next(self, prompt: Prompt) -> Act:
        self._log("asked", prompt)
        act = self._acts[min(self._calls, len(self._acts) - 1)]
        self._calls += 1
        return Act() if self._world.calm else act

    def _play(self, act: Act, prompt: Prompt) -> Any:
        error = _ERRORS.get(act.what)
        if error is not None:
            raise error()
        answer = _ANSWERS[act.what](_text_for(prompt, act.text))
        if isinstance(answer, Answer) and answer.usage is not None:
            self._log("spent", prompt)
        return answer


class AsyncMember(_Planned):
    """Answers on the loop."""

    async def agenerate(self, prompt: Prompt) -> Any:
        """Follow the plan."""
        act = self._next(prompt)
        await self._world.wait(act.seconds, swallows=act.swallows, in_slot=True)
        return self._play(act, prompt)

    async def astream(self, prompt: Prompt) -> AsyncIterator[Any]:
        """Follow the plan, word by word; an answer that breaks off has no end."""
        act = self._next(prompt)
        words = act.text.split(" ")
        share = None if act.seconds is None else act.seconds / (len(words) + 1)
        await self._world.wait(share, swallows=act.swallows, in_slot=True)
        answer = self._play(act, prompt)
        if not isinstance(answer, Answer) or not isinstance(answer.text, str):
            yield answer
            return
        for word in answer.text.replace(" ", " \0").split("\0"):
            yield word
            await self._world.wait(share, swallows=act.swallows, in_slot=True)
        if act.what != "broken off":
            yield answer


class BlockingMember(_Planned):
    """Answers in a thread."""

    def generate(self, prompt: Prompt) -> Any:
        """Follow the plan."""
        act = self._next(prompt)
        self._world.block(act.seconds)
        return self._play(act, prompt)


def _text_for(prompt: Prompt, text: str) -> str:
    if prompt.purpose == "judge":
        labels = _LABEL.findall(prompt.text)
        return json.dumps({"reason": "so", "ranking": labels}) if labels and len(text) % 3 else text
    return f"Both say it: {text}" if prompt.purpose == "fuse" else text


# -- fusers ----------------------------------------------------------------------------------------------

_FUSED: dict[str, Callable[[str], Any]] = {
    "answer": lambda text: FusedText(text, "planned", _USAGE),
    "cut": lambda text: FusedText(text, "planned", _USAGE, finish_reason="length"),
    "refused": lambda _: FusedText("I'm sorry, but I cannot help with that request.", "planned", _USAGE),
    "empty": lambda _: FusedText(" ", "planned"),
    "none": lambda _: None,
    "odd text": lambda _: FusedText(None, "planned"),  # type: ignore[arg-type]
    "endless": lambda text: FusedText((text + "\n") * 200, "planned"),
    "thoughts": lambda text: FusedText(text, "planned", thoughts="Hm."),
}
FUSER_FAULTS = (*_ERRORS, *(name for name in _FUSED if name != "answer"))


def _raise_planned(act: Act) -> None:
    if act.what in _ERRORS:
        raise _ERRORS[act.what]()


def _played(act: Act, more: str = "") -> Any:
    _raise_planned(act)
    return _FUSED[act.what](f"{act.text} {more}" if more else act.text)


def _pieces(act: Act) -> list[str]:
    fused = _FUSED.get(act.what, _FUSED["answer"])(act.text)
    text = fused.text if isinstance(fused, FusedText) and isinstance(fused.text, str) else ""
    return [text[start : start + 9] for start in range(0, len(text), 9)]


def make_fuser(world: World, form: str, acts: Sequence[Act]) -> Any:
    """Make a fuser that follows its acts.

    Args:
        world: The schedule's world.
        form: Which of ``FUSER_FORMS`` it has besides ``fuse``.
        acts: What it does, one a call; the last repeats.

    Returns:
        The fuser.
    """
    calls = itertools.count()

    def following() -> Act:
        return Act() if world.calm else acts[min(next(calls), len(acts) - 1)]

    class Planned:
        name = "planned"

        def fuse(self, request: FusionInput) -> Any:
            act = following()
            world.block(act.seconds)
            return _played(act, request.candidates[0][:40])

    class Asynchronous(Planned):
        async def afuse(self, request: FusionInput) -> Any:
            act = following()
            await world.wait(act.seconds, swallows=act.swallows, in_slot=True)
            return _played(act, request.candidates[0][:40])

    class Streaming(Planned):
        def stream(self, request: FusionInput) -> Iterator[Any]:
            act = following()
            for place, piece in enumerate(_pieces(act)):
                world.block(None if act.seconds is None else act.seconds / 8)
                yield piece
                if place == 3:
                    _raise_planned(act)
            yield _played(act)

    class AsyncStreaming(Asynchronous):
        async def astream(self, request: FusionInput) -> AsyncIterator[Any]:
            act = following()
            share = None if act.seconds is None else act.seconds / 8
            for place, piece in enumerate(_pieces(act)):
                await world.wait(share, swallows=act.swallows, in_slot=True)
                yield piece
                if place == 3:
                    _raise_planned(act)
            yield _played(act)

    return {"fuse": Planned, "afuse": Asynchronous, "stream": Streaming, "astream": AsyncStreaming}[form]()


# -- rankers, priors, judgements -------------------------------------------------------------------------


class PlannedRanker:
    """Ranks by length after a plan's wait, in a thread.

    Args:
        world: The schedule's world.
        act: What it does; ``"nan"``, ``"short"``, ``"none"`` and ``"cut"`` are rankings that cannot be used.
        close: Whether its confidence is low.
    """

    name = "planned"

    def __init__(self, world: World, act: Act, close: bool) -> None:
        self._world = world
        self._act = act
        self._close = close

    def rank(self, prompt: str, candidates: Sequence[str]) -> Any:
        """Follow the plan."""
        self._world.block(self._act.seconds)
        what = "answer" if self._world.calm else self._act.what
        if what in _ERRORS:
            raise _ERRORS[what]()
        scores = [float(len(text)) for text in candidates]
        made: dict[str, Callable[[], Any]] = {
            "nan": lambda: Ranking.from_scores([math.nan] * len(scores), ranker=self.name),
            "short": lambda: Ranking.from_scores(scores[:1], ranker=self.name),
            "none": lambda: None,
            "cut": lambda: Ranking.from_scores(scores, ranker=self.name, cut={99: 3}),
        }
        usable = lambda: Ranking.from_scores(scores, ranker=self.name, temperature=1000.0 if self._close else 0.1)  # noqa: E731
        return made.get(what, usable)()


RANKER_FAULTS = (*_ERRORS, "nan", "short", "none", "cut")


class PlannedPrior:
    """Stands for a ``MemberPrior`` that is slow or fails."""

    def __init__(self, world: World, act: Act) -> None:
        self._world = world
        self._act = act

    def _follow(self) -> None:
        self._world.block(self._act.seconds)
        if not self._world.calm and self._act.what in _ERRORS:
            raise _ERRORS[self._act.what]()

    def blend(self, members: Sequence[str], ranking: Ranking, texts: Sequence[str] | None = None) -> Ranking:
        """Return the ranking."""
        self._follow()
        return ranking

    def observe(self, members: Sequence[str], ranking: Ranking) -> None:
        """Learn nothing."""
        self._follow()


def make_accept(world: World, act: Act, share: float, rng: random.Random) -> Callable[[Answer], str | None]:
    """Make a function that accepts all but a share of the answers, after a wait or with a fault."""

    def accept(answer: Answer) -> str | None:
        world.block(act.seconds)
        if not world.calm and act.what in _ERRORS:
            raise _ERRORS[act.what]()
        return None if world.calm or rng.random() >= share else "not this one"

    return accept


def make_fuse_when(world: World, act: Act) -> Callable[[Any], Any] | Literal["always"]:
    """Make a policy that always fuses, after a wait or with a fault."""
    if act == Act():
        return "always"

    def fuse_when(_context: Any) -> Any:
        world.block(act.seconds)
        if act.what in _ERRORS:
            raise _ERRORS[act.what]()
        return None if act.what == "none" else Decision(True, "planned")

    return fuse_when


def make_guard(world: World, act: Act) -> FusionGuard:
    """Make a guard that takes its time, or fails."""

    class PlannedGuard(FusionGuard):
        def check(self, text: str, candidates: Sequence[str], *, complete: bool = True) -> str | None:
            if complete:
                world.block(act.seconds)
                if not world.calm and act.what in _ERRORS:
                    raise _ERRORS[act.what]()
            return super().check(text, candidates, complete=complete)

    return PlannedGuard()

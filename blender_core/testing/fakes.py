"""Members, rankers and fusers with scripted answers, latency and faults, for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.fuse.protocol import FusedText, FusionInput
from blender_core.members.member import Member
from blender_core.testing.script import Script, words
from blender_core.types.answer import Answer, Price, Usage
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking

__all__ = ["FakeFuser", "FakeMember", "FakeRanker", "Step"]

Step = str | Answer | BaseException | Callable[[Prompt], "str | Answer"]


class FakeMember(Member):
    """Answers by a script.

    Args:
        name: Its name.
        *script: One step for each call, in order; the last step repeats. Text or an ``Answer`` is returned, an
            exception is raised, a function is called with the prompt.
        latency_s: Seconds before each answer.
        usage: Usage of answers that are given as text; default counts words.
        price: Price of its tokens.
        hang: Never answer.
        stubborn: Ignore the cancellation of an asynchronous call.

    Raises:
        ConfigurationError: There is no script, or a step is none of these. Give at least one step, or ``hang=True``.

    Examples:
        >>> member = FakeMember("flaky", ConnectionError("reset"), "hello")
        >>> from blender_core import Blender
        >>> outcome = Blender([member], fuser=None).blend("Hi").candidates[0].outcome
        >>> outcome.attempts, outcome.answer.text
        (2, 'hello')
    """

    def __init__(
        self,
        name: str,
        *script: Step,
        latency_s: float = 0.0,
        usage: Usage | None = None,
        price: Price | None = None,
        hang: bool = False,
        stubborn: bool = False,
    ) -> None:
        super().__init__(name, price=price)
        if not script and not hang:
            raise ConfigurationError(f"FakeMember({name!r}) has no script; give it at least one step, or hang=True")
        for step in script:
            if not (isinstance(step, str | Answer | BaseException) or callable(step)):
                raise ConfigurationError(
                    f"FakeMember({name!r}) has {step!r} as a step; a step is a text, an Answer, an exception or a "
                    "function. Pass several steps as arguments of their own"
                )
        self._steps = script
        self._latency_s = latency_s
        self._usage = usage
        self._hang = hang
        self._stubborn = stubborn
        self._script: Script[Prompt] = Script()

    @property
    def prompts(self) -> list[Prompt]:
        """Every prompt so far, in order."""
        return self._script.calls

    @property
    def calls(self) -> int:
        """Number of calls so far."""
        return len(self.prompts)

    @property
    def cancelled(self) -> int:
        """Number of asynchronous calls that were cancelled."""
        return self._script.cancelled

    def generate(self, prompt: Prompt) -> Answer:
        """Follow the script, blocking."""
        step = self._script.take(prompt, self._steps)
        self._script.wait(self._latency_s, self._hang)
        return self._play(step, prompt)

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Follow the script on the event loop."""
        step = self._script.take(prompt, self._steps)
        await self._script.wait_async(self._latency_s, self._hang, stubborn=self._stubborn)
        return self._play(step, prompt)

    def stream(self, prompt: Prompt) -> Iterator[str | Answer]:
        """Follow the script, and yield word by word."""
        answer = self.generate(prompt)
        yield from words(answer.text)
        yield answer

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Answer]:
        """Follow the script, and yield word by word on the event loop."""
        answer = await self.agenerate(prompt)
        for word in words(answer.text):
            yield word
        yield answer

    def _play(self, step: Any, prompt: Prompt) -> Answer:
        played = self._script.play(step, prompt)
        if isinstance(played, Answer):
            return played
        text = str(played)
        usage = self._usage or Usage(_count(prompt.text), _count(text))
        return Answer(text, usage=usage, model=self.name, finish_reason="stop")


def _count(text: str) -> int:
    # on a huge text ``split`` would block the event loop
    return len(text.split()) if len(text) <= 100_000 else text.count(" ") + 1


class FakeRanker:
    """Ranks by a function of the candidate's text, after a scripted latency or fault.

    Args:
        score: Scores a candidate's text, higher is better; default is its length.
        latency_s: Seconds before each ranking.
        error: Raised instead of a ranking.
        temperature: Divides the difference of the two best scores, of which the confidence is the sigmoid.

    Examples:
        >>> FakeRanker(lambda text: text.count("!")).rank("Hi", ["a", "b!"]).best
        1
    """

    name = "fake"

    def __init__(
        self,
        score: Callable[[str], float] = len,
        *,
        latency_s: float = 0.0,
        error: BaseException | None = None,
        temperature: float = 1.0,
    ) -> None:
        self._score = score
        self._latency_s = latency_s
        self._error = error
        self._temperature = temperature

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank the candidates by the function."""
        time.sleep(self._latency_s)
        if self._error is not None:
            raise self._error
        return Ranking.from_scores(
            [self._score(text) for text in candidates], ranker=self.name, temperature=self._temperature
        )


class FakeFuser:
    """Fuses by a script.

    Args:
        text: The fused text, or a function of the request; default joins the candidates.
        latency_s: Seconds before the text; a stream spreads them over its pieces.
        error: Raised instead of a text; in a stream after ``fail_after`` pieces.
        fail_after: Pieces that are streamed before ``error``.
        usage: Usage that it reports.

    Examples:
        >>> FakeFuser("both").fuse(FusionInput("Q", ("a", "b"))).text
        'both'
    """

    name = "fake"

    def __init__(
        self,
        text: str | Callable[[FusionInput], str] | None = None,
        *,
        latency_s: float = 0.0,
        error: BaseException | None = None,
        fail_after: int = 0,
        usage: Usage | None = None,
    ) -> None:
        self._text = text
        self._latency_s = latency_s
        self._error = error
        self._fail_after = fail_after
        self._usage = usage

    def fuse(self, request: FusionInput) -> FusedText:
        """Fuse by the script, blocking."""
        time.sleep(self._latency_s)
        if self._error is not None:
            raise self._error
        return self._fused(request)

    async def astream(self, request: FusionInput) -> AsyncIterator[str | FusedText]:
        """Fuse by the script, and yield word by word."""
        fused = self._fused(request)
        pieces = words(fused.text)
        for count, word in enumerate(pieces):
            if self._error is not None and count == self._fail_after:
                raise self._error
            await asyncio.sleep(self._latency_s / len(pieces))
            yield word
        if self._error is not None:
            raise self._error
        yield fused

    def _fused(self, request: FusionInput) -> FusedText:
        text = self._text(request) if callable(self._text) else self._text
        return FusedText(" ".join(request.candidates) if text is None else text, self.name, self._usage)

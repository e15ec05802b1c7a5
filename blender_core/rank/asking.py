"""Ask LLMs for a ranking, and count what they use.

Inside a blend the calls go through the engine: they keep its budget, deadline, retries and limit of concurrency, and
what they use is in the result. Elsewhere each call is made once. The context says which of both it is, so that rankers
inside rankers and measures of groundedness are counted too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from blender_core.errors import MemberError, RankerError
from blender_core.members.adapters import as_member
from blender_core.members.classify import classify, http_status
from blender_core.members.control_tokens import plain_for
from blender_core.members.member import Member
from blender_core.members.returned import checked_answer, cost_of
from blender_core.runtime.program_end import ProgramEnd, carrying
from blender_core.runtime.threads import call_in_thread, drain, retrieve, run_sync
from blender_core.types.answer import Answer, Usage, ended_by_error
from blender_core.types.outcome import Status
from blender_core.types.prompt import Prompt

__all__ = ["Asking", "Request", "Tally", "ask_llms", "asking_for", "asking_now", "remedy_of", "run_requests"]

Request = tuple[Member, Prompt]
"""Whom to ask, and what."""


class Tally:
    """Adds up what LLMs used. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._usages: list[Usage] = []
        self._costs: list[float] = []
        self._known = True
        self._cost_known = True

    @property
    def calls(self) -> int:
        """Calls that were made."""
        with self._lock:
            return self._calls

    @property
    def usage(self) -> Usage | None:
        """Tokens of all calls; ``None`` if none reported them."""
        with self._lock:
            return sum(self._usages, Usage()) if self._usages else None

    @property
    def cost(self) -> float | None:
        """Cost of all calls; ``None`` if none is known."""
        with self._lock:
            return sum(self._costs) if self._costs else None

    @property
    def usage_known(self) -> bool:
        """Whether each call reported its usage."""
        with self._lock:
            return self._known

    @property
    def cost_known(self) -> bool:
        """Whether the cost of each call is known."""
        with self._lock:
            return self._cost_known

    def count(self, usage: Usage | None, cost: float | None, *, known: bool = True) -> None:
        """Add a call.

        Args:
            usage: Its tokens; ``None`` if it did not report them.
            cost: Its cost; ``None`` if it is unknown.
            known: Whether there was no further call, such as a try that failed.
        """
        with self._lock:
            self._calls += 1
            self._known = self._known and known and usage is not None and not usage.estimated
            self._cost_known = self._cost_known and known and cost is not None
            if usage is not None:
                self._usages.append(usage)
            if cost is not None:
                self._costs.append(cost)


class Asking:
    """Asks LLMs outside of a blend, once each. Safe to use from several threads.

    Attributes:
        members: The members of the blend by name; empty outside of one.
        authors: The text of a candidate -> names of the members that wrote it; empty outside of a blend.
        tally: What the calls used.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self.members: Mapping[str, Member] = {}
        self.authors: Mapping[str, frozenset[str]] = {}
        self.tally = tally or Tally()

    def ask(self, ranker: str, requests: Sequence[Request], *, concurrency: int, all_needed: bool) -> list[Any]:
        """Ask, blocking; see ``ask_llms``.

        Args:
            ranker: Name of the ranker that asks.
            requests: Whom to ask, and what.
            concurrency: Most calls at once.
            all_needed: Whether the first failure ends all calls and is raised.

        Returns:
            An ``Answer`` for each request, or the exception that it raised.
        """
        return run_sync(lambda: run_requests(self._ask_one, requests, concurrency, all_needed))

    def admit(self, ranker: str, texts: Sequence[str]) -> None:
        """Let a ranker send texts to a server that is no LLM; outside of a blend nothing forbids it.

        Args:
            ranker: Name of the ranker.
            texts: What each answer costs to read: prompt and answer.

        Raises:
            RankerError: They do not fit the budget of the blend.
        """

    def count(self, usage: Usage) -> None:
        """Count what such a server says it read."""
        self.tally.count(usage, None)

    async def _ask_one(self, request: Request) -> Answer:
        member, prompt = request
        try:
            reason = member.why_not(prompt)
            if reason is not None:
                raise MemberError(f"{member.name} cannot take the prompt: {reason}")
            answer = checked_answer(member, await call_in_thread(member.generate, prompt))
            cost = cost_of(member, answer)
        except BaseException:
            self.tally.count(None, None)
            raise
        self.tally.count(answer.usage, cost)
        if answer.refusal is not None:
            raise MemberError(f"{member.name} refused: {answer.refusal}")
        if ended_by_error(answer.finish_reason):
            raise MemberError(f"the provider broke the answer off (finish reason {answer.finish_reason!r})")
        return answer


async def run_requests(
    ask_one: Callable[[Request], Awaitable[Answer]], requests: Sequence[Request], concurrency: int, all_needed: bool
) -> list[Any]:
    """Ask several LLMs at once.

    Args:
        ask_one: Makes one call.
        requests: Whom to ask, and what.
        concurrency: Most calls at once.
        all_needed: Whether the first failure ends all calls and is raised.

    Returns:
        An ``Answer`` for each request, or the exception that it raised.
    """
    free = asyncio.Semaphore(concurrency)

    async def ask(request: Request) -> Answer:
        async with free:
            # what the LLM asks in turn, such as a blend as a judge, it counts itself
            _now.set(None)
            member, prompt = request
            return await ask_one((member, plain_for(member, prompt)))

    tasks = [asyncio.ensure_future(carrying(partial(ask, request))) for request in requests]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(
            tasks, return_when=asyncio.FIRST_EXCEPTION if all_needed else asyncio.ALL_COMPLETED
        )
        failed = [task for task in tasks if task in done and not task.cancelled() and task.exception() is not None]
        if failed and all_needed:
            raise failed[0].exception() or MemberError("a call failed")
    finally:
        for task in tasks:
            # a caller that leaves reads no failure
            task.add_done_callback(retrieve)
        await drain([task for task in tasks if not task.done()])
    return [_outcome(task) for task in tasks]


def _outcome(task: asyncio.Future[Answer]) -> Answer | BaseException:
    if task.cancelled():
        return MemberError("the call was cancelled from inside")
    failure = task.exception()
    if isinstance(failure, ProgramEnd):
        raise failure
    return failure or task.result()


_now: ContextVar[Asking | None] = ContextVar("blended_llm_asking", default=None)


def asking_now() -> Asking:
    """Return what asks LLMs in this context: that of the running blend, else a new one."""
    return _now.get() or Asking()


@contextmanager
def asking_for(asking: Asking) -> Iterator[Asking]:
    """Let rankers and measures ask through ``asking``, also in threads that are started inside.

    Args:
        asking: Its tally counts their calls.

    Yields:
        It.

    Examples:
        >>> from blender_core.rank import LLMJudge
        >>> with asking_for(Asking()) as asking:
        ...     _ = LLMJudge(lambda text: "Better: tie").rank("?", ["one", "two"])
        >>> asking.tally.calls
        2
    """
    token = _now.set(asking)
    try:
        yield asking
    finally:
        _now.reset(token)


def ask_llms(
    requests: Sequence[tuple[Any, Prompt | str]], *, ranker: str, concurrency: int = 4
) -> list[Answer | BaseException]:
    """Ask LLMs from a ranker or a measure of your own, so that a blend counts and limits the calls.

    Inside a blend the calls have its retries. They end with its deadline, their tokens and cost are in the result, and
    they are not made if they do not fit the budget. Call it from ``rank`` or ``score``, in the thread that runs them.

    Args:
        requests: An LLM, as anything that can be a member, and its prompt.
        ranker: Name of what asks, for messages.
        concurrency: Most calls at once (default 4).

    Returns:
        For each request the answer, or the exception of a call that failed.

    Raises:
        RankerError: The calls do not fit the budget, or the time is over.

    Examples:
        >>> [answer.text for answer in ask_llms([(str.upper, "hello")], ranker="example")]
        ['HELLO']
    """
    prepared = [
        (as_member(llm), Prompt.of(prompt) if isinstance(prompt, Prompt) else judging(prompt))
        for llm, prompt in requests
    ]
    if not concurrency >= 1:
        raise RankerError(f"concurrency is {concurrency}; give at least 1")
    return asking_now().ask(ranker, prepared, concurrency=concurrency, all_needed=False)


_REMEDIES: dict[int | Status, str] = {
    401: "give the LLM a valid API key",
    403: "use a key that may call this model",
    404: "mend the model's name or the server's URL",
    Status.RATE_LIMITED: "lower concurrency, or wait",
    Status.REFUSED: "use another judge",
    Status.TIMEOUT: "raise the timeout or the deadline, or use a faster judge",
    Status.TOO_LONG: "use a judge with a larger window",
    Status.UNSUPPORTED: "use another judge",
}


def remedy_of(error: BaseException) -> str:
    """Say what helps after a failed call of an LLM that judges.

    Args:
        error: What the call raised; if it wraps what the LLM raised, that counts.

    Returns:
        The remedy in a few words.

    Examples:
        >>> remedy_of(TimeoutError("late")), remedy_of(ConnectionError("reset")), remedy_of(ValueError("x"))[:12]
        ('raise the timeout or the deadline, or use a faster judge', 'see whether its server runs', 'mend the LLM')
    """
    cause = error.__cause__ if type(error) is MemberError and error.__cause__ is not None else error
    failure = classify(cause)
    kinds = (http_status(cause), failure.status)
    known = next((_REMEDIES[kind] for kind in kinds if kind in _REMEDIES), None)
    return known or ("see whether its server runs" if failure.retryable else "mend the LLM")


def judging(text: str) -> Prompt:
    """Make a prompt of a judge: engines with sources pass it to their LLM."""
    return Prompt(Prompt.of(text).messages, purpose="judge")

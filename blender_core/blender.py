"""The blender: many LLMs, one answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Unpack

from blender_core.errors import ConfigurationError
from blender_core.events import BlendEvent, Finished
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.fuse.policy import resolve_fuse_when
from blender_core.fuse.protocol import Fuser
from blender_core.gather.call import CallRuntime
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.semaphore import SharedSemaphore
from blender_core.members.adapters import as_members
from blender_core.members.member import Member
from blender_core.pipeline import BlendCall, BlendPlan
from blender_core.rank.lexical_consensus import LexicalConsensusRanker
from blender_core.rank.registry import check_ranker, resolve_ranker
from blender_core.runtime.keywords import takes_keywords
from blender_core.runtime.threads import run_sync, stream_sync
from blender_core.selection import Accept
from blender_core.settings import DEFAULTS, BlendSettings, gather_policy
from blender_core.types.prompt import Prompt, PromptLike
from blender_core.types.result import BlendResult

__all__ = ["Blender"]


class Blender:
    """Asks every member, ranks the answers, fuses the best.

    After the quorum has answered a call does not fail any more: a ranker that fails or is late is replaced by
    agreement in words, a fusion that fails, is late or is refused by the guard by the top-ranked answer; the
    result says so in ``degraded``. The blender holds no state of a call and may be used from several threads
    and event loops at once.

    A blender pickles and deep-copies if its members do.

    Args:
        members: The LLMs: members, LLMs of any framework with an adapter, or functions from text to text.
        clock: Monotonic seconds; default is the event loop's clock.
        sleep: Waits for seconds before a retry; default ``asyncio.sleep``.
        rng: Source of retry jitter.
        **settings: See ``BlendSettings``.

    Raises:
        ConfigurationError: A setting cannot work.

    Examples:
        >>> blender = Blender([lambda q: "Paris", lambda q: "Paris.", lambda q: "Rome"], ranker="consensus")
        >>> blender.blend("Capital of France?").text
        'Paris'
    """

    @takes_keywords(BlendSettings, defaults=DEFAULTS, owner="Blender")
    def __init__(
        self,
        members: Sequence[Any],
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        rng: random.Random | None = None,
        **settings: Unpack[BlendSettings],
    ) -> None:
        self._given = (tuple(members), {**settings, "clock": clock, "sleep": sleep, "rng": rng})
        whole: dict[str, Any] = {**DEFAULTS, **settings}
        policy = gather_policy(settings)
        adapted = as_members(members)
        _check(adapted, whole["top_k"], whole["deadline"], whole["gather_share"], policy)
        check_ranker(whole["ranker"])
        semaphore = whole["semaphore"]
        if semaphore is None and policy.max_concurrency is not None:
            semaphore = SharedSemaphore(policy.max_concurrency)
        self._ranker = whole["ranker"]
        self._plan = BlendPlan(
            members=tuple(zip(_unique_names(adapted), adapted, strict=True)),
            # a named ranker is loaded at the first call, not when the blender is made
            ranker=lambda: resolve_ranker(self._ranker),
            fallback_ranker=LexicalConsensusRanker(),
            fuser=_resolve_fuser(whole["fuser"]),
            fuse_when=resolve_fuse_when(whole["fuse_when"]),
            guard=whole["guard"] or FusionGuard(),
            top_k=whole["top_k"],
            policy=policy,
            semaphore=semaphore,
            deadline=whole["deadline"],
            gather_share=whole["gather_share"],
            member_prior=whole["member_prior"],
        )
        self._clock = clock
        self._sleep = sleep or asyncio.sleep
        self._rng = rng or random.Random()

    def __reduce__(self) -> tuple[Any, ...]:
        # the plan holds functions that cannot be pickled; a copy makes its own
        members, settings = self._given
        return _made_again, (type(self), members, settings)

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order."""
        return self._plan.members

    @property
    def policy(self) -> GatherPolicy:
        """How answers are gathered."""
        return self._plan.policy

    @property
    def fuser(self) -> Fuser | None:
        """The fuser, ``None`` where answers are only picked."""
        return self._plan.fuser

    def blend(self, prompt: PromptLike, *, accept: Accept | None = None) -> BlendResult:
        """Answer a prompt, blocking. Works inside a running event loop too (Jupyter).

        Members are called through their synchronous methods, in threads.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``.
            accept: Says why an answer cannot be used, or ``None``; refused answers are set aside as long as
                any is accepted.

        Returns:
            The result.

        Raises:
            QuorumError: Fewer members answered than the quorum.
        """
        asked = Prompt.of(prompt)
        return run_sync(lambda: self._run(asked, accept, _ignore, in_threads=True, streaming=False))

    async def ablend(self, prompt: PromptLike, *, accept: Accept | None = None) -> BlendResult:
        """Answer a prompt. Members are called through their asynchronous methods where they have them.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``.
            accept: Says why an answer cannot be used, or ``None``.

        Returns:
            The result.

        Raises:
            QuorumError: Fewer members answered than the quorum.
        """
        return await self._run(Prompt.of(prompt), accept, _ignore, in_threads=False, streaming=False)

    def stream(self, prompt: PromptLike, *, accept: Accept | None = None) -> Iterator[BlendEvent]:
        """Like ``astream``, blocking. Members are called through their synchronous methods, in threads.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``.
            accept: Says why an answer cannot be used, or ``None``.

        Yields:
            Events; the last is ``Finished``. Leaving early cancels what is left.

        Raises:
            QuorumError: Fewer members answered than the quorum.
        """
        asked = Prompt.of(prompt)
        return stream_sync(lambda: self._events(asked, accept, in_threads=True))

    def astream(self, prompt: PromptLike, *, accept: Accept | None = None) -> AsyncIterator[BlendEvent]:
        """Answer a prompt and tell what happens on the way.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``.
            accept: Says why an answer cannot be used, or ``None``.

        Yields:
            Events, in the order that ``blender_core.events`` draws; the last is ``Finished``. Leaving early
            cancels what is left.

        Raises:
            QuorumError: Fewer members answered than the quorum.
        """
        return self._events(Prompt.of(prompt), accept, in_threads=False)

    async def _events(self, prompt: Prompt, accept: Accept | None, *, in_threads: bool) -> AsyncIterator[BlendEvent]:
        events: asyncio.Queue[BlendEvent | None] = asyncio.Queue()
        task = asyncio.create_task(self._run(prompt, accept, events.put_nowait, in_threads=in_threads, streaming=True))
        task.add_done_callback(lambda _task: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield Finished(await task)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def _run(
        self,
        prompt: Prompt,
        accept: Accept | None,
        emit: Callable[[BlendEvent], None],
        *,
        in_threads: bool,
        streaming: bool,
    ) -> BlendResult:
        clock = self._clock or asyncio.get_running_loop().time
        runtime = CallRuntime(clock, self._sleep, self._rng, emit, in_threads)
        return await BlendCall(self._plan, prompt, runtime, accept=accept, streaming=streaming).run()

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self._plan.members)
        ranker = self._ranker if isinstance(self._ranker, str) else self._ranker.name
        fuser = None if self._plan.fuser is None else self._plan.fuser.name
        return f"Blender([{names}], ranker={ranker!r}, fuser={fuser!r}, top_k={self._plan.top_k})"


def _made_again(kind: type[Blender], members: Sequence[Any], settings: dict[str, Any]) -> Blender:
    return kind(members, **settings)


def _ignore(_event: BlendEvent) -> None:
    """Takes an event that nobody asked for."""


def _check(
    members: Sequence[Member], top_k: int, deadline: float | None, gather_share: float, policy: GatherPolicy
) -> None:
    if top_k < 1:
        raise ConfigurationError(f"top_k is {top_k}; it must be at least 1")
    if deadline is not None and deadline <= 0:
        raise ConfigurationError(f"deadline is {deadline} s; it must be above 0, or None for no limit")
    if not 0 < gather_share <= 0.95:
        raise ConfigurationError(f"gather_share is {gather_share}; it is a share above 0 and up to 0.95")
    if policy.quorum > len(members):
        raise ConfigurationError(
            f"the quorum is {policy.quorum} but there are {len(members)} members; lower it or add members"
        )


def _unique_names(members: Sequence[Member]) -> list[str]:
    taken = {member.name for member in members}
    seen: set[str] = set()
    names = []
    for member in members:
        name, copy = member.name, 1
        while name in seen or (copy > 1 and name in taken):
            copy += 1
            name = f"{member.name}#{copy}"
        seen.add(name)
        names.append(name)
    return names


def _resolve_fuser(fuser: Any) -> Fuser | None:
    if fuser is None:
        return None
    if isinstance(fuser, str):
        if fuser == "llm":
            return LLMFuser()
        raise ConfigurationError(f'fuser is {fuser!r}; use "llm", a fuser, an LLM, or None to pick only')
    return fuser if isinstance(fuser, Fuser) else LLMFuser(fuser)

"""Blend the answers of several LLMs into one."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from blender_core.errors import ConfigurationError
from blender_core.events import BlendEvent, Finished
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.fuse.policy import resolve_fuse_when
from blender_core.fuse.protocol import Fuser
from blender_core.gather.call import CallRuntime
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.spending import Spending
from blender_core.local.catalog import MODELS
from blender_core.members.adapters import as_member, as_members
from blender_core.members.member import Member
from blender_core.pipeline import BlendCall, BlendPlan
from blender_core.rank.lexical_consensus import LexicalConsensusRanker
from blender_core.rank.member_prior import MemberPrior
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import check_members, check_ranker, ready_ranker, resolve_ranker
from blender_core.rank.run import never_works
from blender_core.redaction import remember_secrets
from blender_core.runtime.keywords import nearest, takes_keywords
from blender_core.runtime.program_end import carrying, released
from blender_core.runtime.semaphore import SharedSemaphore
from blender_core.runtime.threads import ComputingThread, compute_in_thread, retrieve, run_sync, stream_sync
from blender_core.selection import Accept
from blender_core.settings import DEFAULTS, BlendSettings, check_settings, gather_policy
from blender_core.types.prompt import Prompt, PromptLike
from blender_core.types.result import BlendResult

if TYPE_CHECKING:
    from blender_core.config import BlendConfig

__all__ = ["Blender"]


class Blender:
    """Asks every member, ranks the answers, fuses the best.

    Once the quorum has answered, a call does not fail:

    - If the ranker fails or times out, answers are ranked by their agreement in words. A ranker that can never work
      raises: here if that can be seen without loading it, else at the first call.
    - If fusion fails or times out, the top-ranked answer is returned.

    ``BlendResult.degraded`` then says so. If the guard refuses the fused text, the top-ranked answer is returned too.
    ``BlendResult.fusion_refused`` then says why. A blender keeps no state of a call. Several threads and event loops
    may use it at once. It pickles and deep-copies if its members do.

    Args:
        members: The LLMs: members, LLMs of any framework with an adapter, or functions from text to text. List the
            strongest first: without a ``member_prior`` that knows better, it fuses.
        clock: Returns seconds; if it steps back, the event loop's goes on. Default is the event loop's clock.
        sleep: Waits the given seconds before a retry; default ``asyncio.sleep``.
        rng: Source of the random share of each wait.
        **settings: See ``BlendSettings``.

    Raises:
        CheckpointError: ``ranker`` is a folder with a checkpoint that no ranker reads.
        ConfigurationError: A setting cannot work; the message says which values can.
        MissingExtraError: The ranker needs a package that is not installed.

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
        check_settings(settings)
        policy = gather_policy(settings)
        self._settings: dict[str, Any] = {**DEFAULTS, **settings, "policy": policy}
        places = as_members(tuple(members))
        self._adapted = (*places, *map(as_member, self._settings["reserves"]))
        if policy.quorum > len(places):
            raise ConfigurationError(
                f"the quorum is {policy.quorum} but there are {len(places)} members; lower it or add members"
            )
        # a budget that cannot be kept is refused here, not at the first call
        Spending(policy.budget, self._adapted)
        check_ranker(self._settings["ranker"])
        names = _unique_names(self._adapted)
        check_members(self._settings["ranker"], names)
        tell_unknown = getattr(self._settings["member_prior"], "check_names", None)
        if tell_unknown is not None:
            tell_unknown(names)
        if self._settings["semaphore"] is None and policy.max_concurrency is not None:
            # copies share it
            self._settings["semaphore"] = SharedSemaphore(policy.max_concurrency)
        self._clock = clock
        self._sleep = sleep or asyncio.sleep
        self._rng = rng or random.Random()
        self._plan = self._planned()
        self._loading = self._broken = False

    def _planned(self) -> BlendPlan:
        whole = self._settings
        remember_secrets(*self._adapted, whole["ranker"], whole["fuser"])
        prior = whole["member_prior"]
        if prior is None and all(member.name.partition("#")[0] in MODELS for member in self._adapted):
            prior = MemberPrior.of_catalogue(_unique_names(self._adapted))
        members = tuple(zip(_unique_names(self._adapted), self._adapted, strict=True))
        return BlendPlan(
            members=members,
            # a named ranker is loaded by the first call, not here
            ranker=lambda: resolve_ranker(whole["ranker"]),
            fallback_ranker=LexicalConsensusRanker(),
            fuser=_resolve_fuser(whole["fuser"], members),
            fuse_when=resolve_fuse_when(whole["fuse_when"]),
            guard=whole["guard"] or FusionGuard(),
            top_k=whole["top_k"],
            policy=whole["policy"],
            semaphore=whole["semaphore"],
            deadline=whole["deadline"],
            gather_share=whole["gather_share"],
            member_prior=prior,
            reserves=len(whole["reserves"]),
            breaker=whole["breaker"],
            ready_ranker=lambda: ready_ranker(whole["ranker"]),
        )

    @classmethod
    def from_config(
        cls, config: BlendConfig | Mapping[str, Any] | str | Path, **settings: Unpack[BlendSettings]
    ) -> Self:
        """Make the blend that a file describes.

        Local models are fetched once and started. They run as long as a member that asks them exists.

        Args:
            config: The file (``.toml``, ``.yaml``, ``.json``), or what it holds.
            **settings: Replace what the file says; see ``BlendSettings``.

        Returns:
            The blender.

        Raises:
            BlendError: The file is not valid, a key is not there, or a local model cannot start.

        Examples:
            >>> file = {"fuser": "none", "members": [{"model": "qwen", "base_url": "http://127.0.0.1:8080/v1"}]}
            >>> [name for name, _ in Blender.from_config(file).members]
            ['qwen']
        """
        from blender_core.config import keywords_of

        return cls(**keywords_of(config, settings))

    def __getstate__(self) -> dict[str, Any]:
        # the plan holds functions that cannot be pickled; a copy makes its own
        return {name: value for name, value in self.__dict__.items() if name not in ("_plan", "_loading", "_broken")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plan = self._planned()
        self._loading = self._broken = False

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order, reserves last."""
        return self._plan.members

    @property
    def policy(self) -> GatherPolicy:
        """How answers are gathered."""
        return self._plan.policy

    @property
    def fuser(self) -> Fuser | None:
        """The fuser; ``None`` if answers are only picked."""
        return self._plan.fuser

    def warm_up(self) -> None:
        """Load the ranker now, blocking; a ranker behind HTTP asks its server once.

        The first call loads it while the members answer. That is too late if loading takes longer than the members,
        or than a deadline allows. A ranker of your own may have a method ``warm_up``, which is called.

        Raises:
            BlendError: The ranker cannot be loaded, or its server cannot rank.
        """
        self._loading = True
        self._make_ready()

    async def awarm_up(self) -> None:
        """Load the ranker now, in a thread; see ``warm_up``."""
        self._loading = True
        await compute_in_thread(self._make_ready)

    def _make_ready(self) -> None:
        make_ready = getattr(self._load_ranker(), "warm_up", None)
        if make_ready is not None:
            make_ready()

    def _load_ranker(self) -> Ranker:
        """Load what ranks; a blender with a ranker for each call overrides this."""
        return self._plan.ranker()

    def _load_in_background(self) -> None:
        """Load the ranker during the first call, while its members answer."""
        if self._loading or len(self._adapted) < 2:
            return
        self._loading = True

        def load() -> None:
            # the call loads it again when it ranks, and tells the failure
            try:
                self._load_ranker()
            except BaseException as error:
                self._broken = never_works(error)

        ComputingThread(load).start()

    def blend(self, prompt: PromptLike, *, accept: Accept | None = None) -> BlendResult:
        """Answer a prompt, blocking. Works inside a running event loop too, as in Jupyter.

        Members are called through their synchronous methods, in threads.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``.
            accept: Checks an answer; returns why it cannot be used, or ``None``. It is called in a thread, for several
                answers at once, within the member's time. Answers that cannot be used are ranked only if no answer can.

        Returns:
            The result.

        Raises:
            QuorumError: Fewer members answered than the quorum. The message names each member's cause.
        """
        asked = Prompt.of(prompt)
        return run_sync(lambda: self._run(asked, accept, _ignore, in_threads=True, streaming=False))

    async def ablend(self, prompt: PromptLike, *, accept: Accept | None = None) -> BlendResult:
        """Answer a prompt on the event loop; see ``blend``.

        Members are called through their asynchronous methods if they have them, else in threads.
        """
        return await released(self._run(Prompt.of(prompt), accept, _ignore, in_threads=False, streaming=False))

    def stream(self, prompt: PromptLike, *, accept: Accept | None = None) -> Iterator[BlendEvent]:
        """Answer a prompt and yield its events, blocking; see ``astream``.

        Members are called through their synchronous methods, in threads.
        """
        asked = Prompt.of(prompt)
        return stream_sync(lambda: self._events(asked, accept, in_threads=True))

    def astream(self, prompt: PromptLike, *, accept: Accept | None = None) -> AsyncIterator[BlendEvent]:
        """Answer a prompt and yield its events.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``.
            accept: As in ``blend``.

        Yields:
            Events in the order that ``blender_core.events`` shows; the last is ``Finished``. Closing the iterator
            cancels the call.

        Raises:
            QuorumError: Fewer members answered than the quorum. The message names each member's cause.
        """
        return self._events(Prompt.of(prompt), accept, in_threads=False)

    async def _events(self, prompt: Prompt, accept: Accept | None, *, in_threads: bool) -> AsyncIterator[BlendEvent]:
        events: asyncio.Queue[BlendEvent | None] = asyncio.Queue()
        run = partial(self._run, prompt, accept, events.put_nowait, in_threads=in_threads, streaming=True)
        task = asyncio.create_task(carrying(run))
        task.add_done_callback(lambda _task: events.put_nowait(None))
        # nobody else reads its error if the caller leaves while it ends
        task.add_done_callback(retrieve)
        try:
            while (event := await events.get()) is not None:
                yield event
            yield Finished(await released(task))
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
        if self._broken:
            # no member is paid for before the ranker is mended
            await self.awarm_up()
            self._broken = False
        self._load_in_background()
        loop_time = asyncio.get_running_loop().time
        clock = loop_time if self._clock is None else _steady(self._clock, loop_time)
        return await self._call(prompt, accept, CallRuntime(clock, self._sleep, self._rng, emit, in_threads), streaming)

    async def _call(self, prompt: Prompt, accept: Accept | None, runtime: CallRuntime, streaming: bool) -> BlendResult:
        """Make one call; a blender with state for each call overrides this."""
        return await BlendCall(self._plan, prompt, runtime, accept=accept, streaming=streaming).run()

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self._plan.members)
        ranker = self._settings["ranker"]
        ranker = getattr(ranker, "name", ranker)
        fuser = None if self._plan.fuser is None else self._plan.fuser.name
        return f"Blender([{names}], ranker={ranker!r}, fuser={fuser!r}, top_k={self._plan.top_k})"


def _steady(clock: Callable[[], float], loop_time: Callable[[], float]) -> Callable[[], float]:
    """Make a clock that never steps back; where the caller's does, the event loop's says how much time has passed."""
    last, ahead, looked = -math.inf, 0.0, 0.0

    def read() -> float:
        nonlocal last, ahead, looked
        now, seen = clock() + ahead, loop_time()
        if now < last:
            moved = last + seen - looked
            ahead += moved - now
            now = moved
        last, looked = now, seen
        return now

    return read


def _ignore(_event: BlendEvent) -> None:
    """Drop an event that no caller wants."""


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


def _resolve_fuser(fuser: Any, members: Sequence[tuple[str, Member]]) -> Fuser | None:
    if fuser is None:
        return None
    if isinstance(fuser, str):
        return LLMFuser() if fuser == "llm" else LLMFuser(_fusing_member(fuser, dict(members)))
    given: Fuser = fuser if isinstance(fuser, Fuser) else LLMFuser(fuser)
    if not isinstance(given.name, str):
        raise ConfigurationError(f"the fuser's name is {given.name!r}; give it a text, which results show")
    return given


def _fusing_member(name: str, members: Mapping[str, Member]) -> Member:
    member = members.get(name)
    if member is None:
        raise ConfigurationError(
            f'fuser is {name!r}{nearest(name, members)}; use "llm", a member\'s name ({", ".join(members)}), a fuser, '
            "an LLM, or None to pick only"
        )
    if not member.follows_instructions:
        raise ConfigurationError(f"fuser is {name!r}, a member that follows no instructions; name one that does")
    return member

"""Ask every member of an ensemble every prompt, with the engine's own gathering, and resume after a kill."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blender_core.errors import ConfigurationError, MemberError
from blender_core.events import BlendEvent, MemberAnswered, MemberFailed
from blender_core.gather.call import CallRuntime
from blender_core.gather.gatherer import gather
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.spending import Spending
from blender_core.members.member import Member
from blender_core.runtime.numbers import check_number
from blender_core.runtime.semaphore import SharedSemaphore
from blender_core.runtime.threads import run_sync
from blender_core.text.unicode import without_surrogates
from blender_core.types.outcome import MemberOutcome
from blender_core.types.prompt import Message, Prompt
from blender_lab.data.mixinstruct import Gathered, MixCandidate, MixRecord
from blender_lab.mix.journal import Journal

__all__ = ["GatherSettings", "gather_answers", "gathered_candidate", "gathered_records", "missing_answers"]


@dataclass(frozen=True, slots=True)
class GatherSettings:
    """How the members are asked.

    Attributes:
        system: System message before every prompt, ``""`` for none.
        options: Call options such as ``temperature``, ``seed`` and ``max_tokens``; ``{}`` for the members' own.
        decoding_method: Written into each candidate, as in MixInstruct.
        policy: Time limits and retries of the engine's gathering; its quorum does not count here.
        concurrency: Prompts on the way at the same time.
        retry_failed: Ask again if a member failed in an earlier run.
        give_up_after: Failures of one member in a row after which the run stops, so that a wrong key does not fail a
            thousand times.
    """

    system: str = ""
    options: Mapping[str, Any] | None = None
    decoding_method: str = ""
    policy: GatherPolicy = field(default_factory=lambda: GatherPolicy(timeout=300.0))
    concurrency: int = 1
    retry_failed: bool = False
    give_up_after: int = 10

    def __post_init__(self) -> None:
        for name in ("concurrency", "give_up_after"):
            check_number(name, getattr(self, name), least=1, whole=True)

    def prompt(self, record: MixRecord) -> Prompt:
        """Make the prompt that the members get for a record."""
        turns = [Message("system", self.system)] if self.system else []
        return Prompt((*turns, Message("user", record.prompt)), options=self.options or {})


def missing_answers(
    records: Sequence[MixRecord], members: Sequence[str], journal: Journal, settings: GatherSettings
) -> list[tuple[MixRecord, tuple[str, ...]]]:
    """List what is still to be asked.

    Args:
        records: The prompts.
        members: The members' names.
        journal: What there is.
        settings: How the members are asked.

    Returns:
        Each record with the members that have not answered it, without records that are complete.
    """
    missing = []
    for record in records:
        asked = settings.prompt(record).text
        names = []
        for name in members:
            known = journal.answer(record.id, asked, name)
            if known is None or (settings.retry_failed and known.failed):
                names.append(name)
        if names:
            missing.append((record, tuple(names)))
    return missing


def gather_answers(
    records: Sequence[MixRecord],
    members: Sequence[tuple[str, Member]],
    journal: Journal,
    settings: GatherSettings,
    *,
    on_answer: Callable[[MixRecord, MixCandidate], None] = lambda record, candidate: None,
    rng: random.Random | None = None,
) -> None:
    """Ask the members what the journal does not hold yet.

    Each answer, and each failure, is written to the journal as it comes. Members of one prompt are asked at the same
    time; ``settings.policy.max_concurrency`` limits that.

    Args:
        records: The prompts.
        members: Unique name and member.
        journal: Where answers are kept.
        settings: How the members are asked.
        on_answer: Called after each answer is written.
        rng: Source of retry jitter.

    Raises:
        ConfigurationError: Two members have one name, or two records one id.
        MemberError: A member failed ``settings.give_up_after`` times in a row.
    """
    for what, names in (("members", [name for name, _ in members]), ("prompts", [record.id for record in records])):
        double = [name for name, count in Counter(names).items() if count > 1]
        if double:
            raise ConfigurationError(f"two {what} are called {double[0]!r}; give each a name of its own")
    todo = missing_answers(records, [name for name, _ in members], journal, settings)
    run = _Run(dict(members), journal, settings, on_answer, rng or random.Random(0))
    run_sync(lambda: run.all(todo))


def gathered_records(
    records: Sequence[MixRecord], members: Sequence[str], journal: Journal, settings: GatherSettings
) -> Iterator[MixRecord]:
    """Join the prompts with the answers that the journal holds.

    Args:
        records: The prompts.
        members: The members' names, the order of the candidates.
        journal: What there is.
        settings: How the members were asked.

    Yields:
        Each record with one candidate a member; one that failed has an empty text, one that was not asked is left out.
    """
    for record in records:
        asked = settings.prompt(record).text
        found = (journal.answer(record.id, asked, name) for name in members)
        yield MixRecord(
            id=record.id,
            instruction=record.instruction,
            input=record.input,
            output=record.output,
            candidates=tuple(candidate for candidate in found if candidate is not None),
            task=record.task,
            check=record.check,
            extra=record.extra,
        )


class _Run:
    """One run of ``gather_answers``; lives for one call."""

    def __init__(
        self,
        members: Mapping[str, Member],
        journal: Journal,
        settings: GatherSettings,
        on_answer: Callable[[MixRecord, MixCandidate], None],
        rng: random.Random,
    ) -> None:
        self._members = members
        self._journal = journal
        self._settings = settings
        self._on_answer = on_answer
        self._rng = rng
        self._failures: dict[str, list[str]] = {name: [] for name in members}
        self._spending = Spending(settings.policy.budget, list(members.values()))
        limit = settings.policy.max_concurrency
        self._semaphore = None if limit is None else SharedSemaphore(limit)

    async def all(self, todo: Sequence[tuple[MixRecord, tuple[str, ...]]]) -> None:
        left = iter(todo)

        async def work() -> None:
            for record, names in left:
                await self._one(record, names)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._settings.concurrency, len(todo)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _one(self, record: MixRecord, names: Sequence[str]) -> None:
        prompt = self._settings.prompt(record)
        members = [(name, self._members[name]) for name in names]

        def take(event: BlendEvent) -> None:
            if isinstance(event, MemberAnswered | MemberFailed):
                self._write(record, prompt, event.outcome)

        runtime = CallRuntime(asyncio.get_running_loop().time, asyncio.sleep, self._rng, take)
        await gather(
            members, prompt, self._settings.policy, semaphore=self._semaphore, spending=self._spending, runtime=runtime
        )
        for name, reasons in self._failures.items():
            if len(reasons) >= self._settings.give_up_after:
                raise MemberError(
                    f"{name} failed {len(reasons)} times in a row, the last time: {reasons[-1]}. What was gathered is "
                    f"kept in {self._journal.path}; mend the member and run again with retry_failed"
                )

    def _write(self, record: MixRecord, prompt: Prompt, outcome: MemberOutcome) -> None:
        if outcome.attempts == 0:  # the budget was spent before it was asked
            return
        candidate = gathered_candidate(outcome, self._settings.decoding_method)
        self._journal.add_answer(record.id, prompt.text, candidate)
        if outcome.ok:
            self._failures[outcome.member].clear()
        else:
            self._failures[outcome.member].append(outcome.reason or outcome.status.value)
        self._on_answer(record, candidate)


def gathered_candidate(outcome: MemberOutcome, decoding_method: str = "") -> MixCandidate:
    """Turn a member's outcome into a candidate of MixInstruct.

    Args:
        outcome: How the member ended.
        decoding_method: Written into the candidate.

    Returns:
        The candidate; its text is ``""`` if the member did not answer.
    """
    answer, usage = outcome.answer, outcome.usage
    finish_reason = None if answer is None else answer.finish_reason
    # half a character could be written neither to the journal nor to the output
    gathered = Gathered(
        status=outcome.status.value,
        error=without_surrogates(outcome.reason or ""),
        latency_s=round(outcome.latency_s, 4),
        attempts=outcome.attempts,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cost=outcome.cost,
        finish_reason=None if finish_reason is None else without_surrogates(finish_reason),
    )
    text = "" if answer is None else without_surrogates(answer.text)
    return MixCandidate(outcome.member, text, {}, decoding_method, gathered)

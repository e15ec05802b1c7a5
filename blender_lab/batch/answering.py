"""Turn a row into an answer: blend, gather, or rank what is there."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from blender_core.cli.output import finite, open_prior
from blender_core.cli.prompt_rows import PromptRow, parse_row
from blender_core.config import BlendConfig, keywords_of
from blender_core.errors import ConfigurationError, QuorumError, RankerError
from blender_core.gather.call import CallRuntime
from blender_core.gather.gatherer import gather, quorum_of
from blender_core.gather.spending import Spending
from blender_core.rank.member_prior import MemberPrior
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import check_members, check_ranker, resolve_ranker
from blender_core.runtime.semaphore import SharedSemaphore
from blender_core.runtime.threads import compute_in_thread, stop_if_given_up
from blender_core.settings import DEFAULTS
from blender_core.types.prompt import Message, Prompt
from blender_lab.batch.journal import UNREADABLE, Finished
from blender_lab.batch.rows import RawRow

if TYPE_CHECKING:
    from blender_core.blender import Blender
    from blender_core.types.ranking import Ranking

__all__ = ["Answering", "Mode", "Outcome", "Work"]

Mode = Literal["blend", "rank", "gather"]
Outcome = tuple[Finished, bytes]
"""How a row ended, and its line for a journal."""

# keys of a description that change no answer, or only whether there is one
_CHANGE_NO_ANSWER = {
    "timeout",
    "deadline",
    "quorum",
    "max_retries",
    "max_concurrency",
    "budget",
    "gather_share",
    "name",
    "reserves",
    "breaker",
}
_OF_A_MEMBER = {"base_url", "api_key_env", "price", "context_window"}


class Answering(Protocol):
    """Answers rows; made once in each process."""

    at_once: int
    """Most rows that one call of ``answer`` gets."""

    async def answer(self, rows: Sequence[RawRow]) -> list[Outcome]:
        """Answer rows; a row that fails is an outcome, too."""


@dataclass(frozen=True)
class Work:
    """Says what is done with each row; it pickles.

    Attributes:
        mode: ``"blend"``, ``"rank"`` (the candidates of the file) or ``"gather"``.
        config: The blend; to rank, ``None`` is a ranker without members.
        ranker: To rank without ``config``: name of the ranker.
        prior: To rank without ``config``: file of the members' strength; ``None`` is without.
        system: A system message before each prompt; ``""`` is none.
    """

    mode: Mode
    config: BlendConfig | None = None
    ranker: str = "embedded"
    prior: str | None = None
    system: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """What rows must have in common to be in one output, as JSON types."""
        if self.config is None:
            return {"mode": self.mode, "ranker": self.ranker, "prior": self.prior, "system": self.system}
        stated = self.config.model_dump(mode="json", exclude_defaults=True)
        stated["members"] = [
            {name: value for name, value in member.items() if name not in _OF_A_MEMBER} for member in stated["members"]
        ]
        if self.mode == "gather":
            stated = {name: stated[name] for name in ("members", "temperature", "max_tokens") if name in stated}
        if self.mode == "rank":
            names = zip(self.config.names, self.config.all_members, strict=True)
            strengths = {name: member.strength for name, member in names if member.strength is not None}
            stated = {
                "ranker": self.config.ranker,
                "prior": self.config.prior,
                **({"strengths": strengths} if strengths else {}),
            }
        kept = {name: value for name, value in stated.items() if name not in _CHANGE_NO_ANSWER}
        return {"mode": self.mode, "system": self.system, **kept}

    def check(self, workers: int) -> None:
        """Refuse what cannot work before anything is started.

        Args:
            workers: Processes that will work on it.

        Raises:
            BlendError: A key, a price, a file or a ranker is missing, or a limit cannot be divided.
        """
        if self.config is None or self.mode == "rank":
            ranker = self._ranker_alone()[0]
            check_ranker(ranker)
            try:
                check_members(ranker, ())
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"the ranker {ranker} asks the members of a blend, and --rank-only asks nobody; "
                    "give another --ranker, or leave --rank-only out"
                ) from error
            return
        limit = self.config.max_concurrency
        if limit is not None and limit < workers:
            raise ConfigurationError(
                f"max_concurrency is {limit}, and {workers} workers share it; give --workers {limit} or fewer"
            )
        for member in self.config.all_members:
            if member.local is None:
                member.api_key()
        if self.mode == "blend":
            check_ranker(self.config.settings().get("ranker", self.config.ranker))
        if self.mode == "blend" and all(member.local is None for member in self.config.all_members):
            self._blender(workers)

    def check_prices(self) -> None:
        """Refuse a limit of cost if the cost is not known.

        Raises:
            ConfigurationError: A member has no price.
        """
        members = () if self.config is None else self.config.all_members
        unpriced = [member.label for member in members if member.price is None and member.local is None]
        if unpriced:
            raise ConfigurationError(
                f"--max-cost cannot be kept: no price for {', '.join(unpriced)}; give each a price in a --config file, "
                "or use --max-tokens-total"
            )

    def open(self, workers: int) -> Answering:
        """Connect the members and make the ranker.

        Args:
            workers: Processes that share ``max_concurrency``; each gets an equal part.

        Returns:
            What answers rows.

        Raises:
            BlendError: Something cannot work.
        """
        if self.config is None or self.mode == "rank":
            name, prior = self._ranker_alone()
            return _Ranking(resolve_ranker(name), prior)
        if self.mode == "gather":
            return _Gathering(self.config, self._share(workers), self.system)
        blender = self._blender(workers)
        # a ranker that cannot work ends the job here, not at each row
        blender.warm_up()
        return _Blending(blender, self.system)

    def _share(self, workers: int) -> dict[str, Any]:
        limit = None if self.config is None else self.config.max_concurrency
        return {} if limit is None else {"max_concurrency": limit // workers}

    def _blender(self, workers: int) -> Blender:
        from blender_core.blender import Blender

        assert self.config is not None, "only a ranker works without members"
        given = self._share(workers)
        prior = self.config.settings().get("member_prior")
        if prior is None and self.config.is_local:
            prior = MemberPrior.of_catalogue(self.config.names)
        if prior is not None:
            given["member_prior"] = _Unlearning(prior)
        return Blender(**keywords_of(self.config, given))

    def _ranker_alone(self) -> tuple[str, Any]:
        if self.config is None:
            return self.ranker, open_prior(self.prior)
        return self.config.beside(self.config.ranker), self.config.settings().get("member_prior")


class _Unlearning:
    """A prior that learns nothing, so that no answer depends on which rows came before it."""

    def __init__(self, prior: MemberPrior) -> None:
        self.blend = prior.blend
        self.strongest_first = prior.strongest_first
        self.preference = prior.preference

    def observe(self, members: Sequence[str], ranking: Ranking, /) -> None:
        """Learn nothing."""


class _OneByOne:
    """Answers one row in each call."""

    at_once = 1

    def __init__(self, system: str) -> None:
        self._system = system

    async def answer(self, rows: Sequence[RawRow]) -> list[Outcome]:
        return [await self._one(row) for row in rows]

    async def _one(self, raw: RawRow) -> Outcome:
        try:
            row = _parsed(raw, needs_candidates=False)
        except ConfigurationError as error:
            return _failed(raw, None, str(error), UNREADABLE)
        turns = [Message("system", self._system)] if self._system else []
        try:
            return await self._answer(raw, row, Prompt((*turns, Message("user", row.prompt))))
        except QuorumError as error:
            spent = _spent(error.outcomes)
            return _failed(raw, row, str(error), _causes(error), *spent)
        except Exception as error:
            return _failed(raw, row, f"{type(error).__name__}: {error}", type(error).__name__)

    async def _answer(self, raw: RawRow, row: PromptRow, prompt: Prompt) -> Outcome:
        raise NotImplementedError


class _Blending(_OneByOne):
    """Blends."""

    def __init__(self, blender: Blender, system: str) -> None:
        super().__init__(system)
        self._blender = blender

    async def _answer(self, raw: RawRow, row: PromptRow, prompt: Prompt) -> Outcome:
        result = await self._blender.ablend(prompt)
        spent = result.usage.total_tokens, result.cost or 0.0
        held = {"id": _id(raw, row), "text": result.text, "winner": result.winner, "report": result.to_dict()}
        return _done(raw, held, result.winner, *spent)


class _Gathering(_OneByOne):
    """Asks the members, and ranks nothing."""

    def __init__(self, config: BlendConfig, given: Mapping[str, Any], system: str) -> None:
        from blender_core.blender import Blender

        super().__init__(system)
        held = keywords_of(config, {**given, "ranker": "longest", "fuser": None})
        # it checks the settings and names the members; nothing is blended
        blender = Blender(**held)
        self._members = blender.members
        self._policy = blender.policy
        deadline: float | None = held.get("deadline")
        self._ends_s = None if deadline is None else deadline * held.get("gather_share", DEFAULTS["gather_share"])
        self._deadline_s = deadline
        self._reserves = len(held["reserves"])
        self._breaker = held.get("breaker")
        limit = self._policy.max_concurrency
        self._semaphore = None if limit is None else SharedSemaphore(limit)

    async def _answer(self, raw: RawRow, row: PromptRow, prompt: Prompt) -> Outcome:
        from blender_lab.mix.gather import gathered_candidate

        outcomes = await gather(
            self._members,
            prompt,
            self._policy,
            semaphore=self._semaphore,
            spending=Spending(self._policy.budget, [member for _, member in self._members]),
            runtime=CallRuntime(asyncio.get_running_loop().time, asyncio.sleep, random.Random(), lambda _event: None),
            soft_limit_s=self._ends_s,
            hard_limit_s=self._deadline_s,
            reserves=self._reserves,
            breaker=self._breaker,
        )
        quorum = quorum_of(self._policy.quorum, len(outcomes), outcomes)
        if sum(outcome.ok for outcome in outcomes) < quorum:
            raise QuorumError(quorum, outcomes)
        held = json.loads(raw.content)
        held |= {"id": _id(raw, row), "candidates": [gathered_candidate(outcome).to_dict() for outcome in outcomes]}
        return _done(raw, held, "", *_spent(outcomes))


class _Ranking:
    """Ranks the candidates that the rows have."""

    at_once = 256

    def __init__(self, ranker: Ranker, prior: Any) -> None:
        self._ranker = ranker
        self._prior = prior

    async def answer(self, rows: Sequence[RawRow]) -> list[Outcome]:
        return await compute_in_thread(lambda: [self._one(row) for row in rows])

    def _one(self, raw: RawRow) -> Outcome:
        stop_if_given_up()
        try:
            row = _parsed(raw, needs_candidates=True)
        except ConfigurationError as error:
            return _failed(raw, None, str(error), UNREADABLE)
        if not any(text.strip() for text in row.texts):
            return _failed(raw, row, f"{raw.where}: all candidates are blank", UNREADABLE)
        try:
            ranking = self._ranker.rank(row.prompt, list(row.texts))
            if len(ranking.scores) != len(row.texts):
                raise RankerError(f"{len(ranking.scores)} scores for {len(row.texts)} candidates")
            if self._prior is not None:
                ranking = self._prior.blend(row.names, ranking, row.texts)
            winner = row.names[ranking.best]
            report = {"models": list(row.names), **ranking.to_dict()}
            held = {"id": _id(raw, row), "text": row.texts[ranking.best], "winner": winner, "report": report}
            return _done(raw, held, winner)
        except Exception as error:
            return _failed(raw, row, f"{type(error).__name__}: {error}", type(error).__name__)


def _parsed(raw: RawRow, *, needs_candidates: bool) -> PromptRow:
    try:
        text = raw.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{raw.where} is not UTF-8: {error}") from error
    row = parse_row(text, raw.line, raw.where, needs_candidates=needs_candidates)
    if not row.prompt.strip():
        raise ConfigurationError(f"{raw.where}: the prompt is empty")
    return row


def _id(raw: RawRow, row: PromptRow | None) -> Any:
    given = None if row is None else row.label.get("id")
    return str(raw.number) if given in (None, "") else given


def _done(raw: RawRow, held: Mapping[str, Any], winner: str, tokens: int = 0, cost: float = 0.0) -> Outcome:
    finished = Finished(raw.number, raw.digest, True, winner, tokens, cost)
    return finished, finished.line(finite(held))


def _failed(raw: RawRow, row: PromptRow | None, reason: str, cause: str, tokens: int = 0, cost: float = 0.0) -> Outcome:
    finished = Finished(raw.number, raw.digest, False, cause, tokens, cost)
    return finished, finished.line({"id": _id(raw, row), "row": raw.number, "where": raw.where, "reason": reason})


def _spent(outcomes: Sequence[Any]) -> tuple[int, float]:
    tokens = sum(outcome.usage.total_tokens for outcome in outcomes if outcome.usage is not None)
    return tokens, sum(outcome.cost or 0.0 for outcome in outcomes)


def _causes(error: QuorumError) -> str:
    causes = Counter(str(outcome.status.value) for outcome in error.outcomes if not outcome.ok)
    return ", ".join(sorted(causes))

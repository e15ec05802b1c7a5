"""Rank by a council: the members judge each other's answers, anonymous and shuffled, never their own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from blender_core.errors import ConfigurationError, RankerError
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.rank.asking import Asking, asking_now
from blender_core.rank.comparisons import bradley_terry
from blender_core.rank.llm_judge import Listing, call_options, evidence_of, make_listing, named_member
from blender_core.text.distinct import distinct_candidates
from blender_core.types.answer import Answer
from blender_core.types.ranking import Ranking

__all__ = ["PeerRanker"]

Votes = Literal["bradley-terry", "borda"]


class PeerRanker:
    """Ranks by the votes of the members on each other's answers.

    Each member that answered ranks the answers of the others in one call. It sees them without names, in an order of
    its own, and not its own answer. If members agree so that none sees two answers of others, nothing is asked: each
    counts as a vote for its own. A member that fails to judge, or whose reply holds no ranking, costs its vote;
    ``Ranking.problems`` then says so. ``Ranking.evidence`` holds what each member said about each answer.

    With other judges it is a jury (PoLL, Verga et al. 2024): give it LLMs that are no members.

    Args:
        judges: LLMs that judge, as anything that can be a member; a text names a member of the blend. Default: the
            members that answered and follow instructions.
        votes: How votes become scores. ``"bradley-terry"`` (default) fits strengths to the pairs that each vote orders.
            ``"borda"`` takes the mean share of others that an answer beats.
        reliability: Probability that the order of one pair in a vote is right, above 0.5 and below 1. The default of
            0.75 is an assumption.
        options: Call options for the judges, for example ``{"temperature": 0.0}``. Default: their own.
        name: Shown in results.

    Raises:
        ConfigurationError: A value cannot work; the message says which can.

    Examples:
        >>> def judge(text):
        ...     shown = text.split('<answer label="')[1:]
        ...     best = next(answer[0] for answer in shown if "Paris" in answer)
        ...     return f'{{"reason": "right", "ranking": ["{best}"]}}'
        >>> PeerRanker([judge, judge]).rank("Capital of France?", ["Rome", "Paris", "Oslo"]).best
        1
    """

    def __init__(
        self,
        judges: Sequence[Any] | None = None,
        *,
        votes: Votes = "bradley-terry",
        reliability: float = 0.75,
        options: Mapping[str, Any] | None = None,
        name: str = "peers",
    ) -> None:
        if votes not in get_args(Votes):
            raise ConfigurationError(f"votes is {votes!r}; use one of {', '.join(get_args(Votes))}")
        self._evidence = evidence_of(reliability)
        if isinstance(judges, str):
            raise ConfigurationError(f"judges is {judges!r}; give a list of LLMs, or of names of members")
        self._judges: tuple[Member | str, ...] | None = None
        if judges is not None:
            self._judges = tuple(one if isinstance(one, str) else as_member(one) for one in judges)
            if not self._judges:
                raise ConfigurationError("judges is empty; give at least one LLM, or None for the members")
        self._aggregate = votes
        self._options = call_options(options)
        self.name = name

    spends = True
    """It is shown only answers that can still win."""

    @property
    def needs_members(self) -> int:
        """Members of the blend that it needs: each must see two answers besides its own."""
        by_members = self._judges is None or all(isinstance(judge, str) for judge in self._judges)
        return 3 if by_members else 0

    @property
    def named_members(self) -> tuple[str, ...]:
        """Names of the members of the blend that it needs."""
        return tuple(judge for judge in self._judges or () if isinstance(judge, str))

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by the votes; see ``Ranker.rank``.

        Raises:
            RankerError: There is no vote: the calls failed or do not fit the budget, or fewer than three members
                answered.
        """
        distinct = distinct_candidates(candidates)
        texts = distinct.texts
        asking = asking_now()
        if len(texts) < 2:
            return Ranking.from_scores(distinct.spread_scores([0.0] * len(texts)), ranker=self.name)
        authors: list[set[str]] = [set() for _ in texts]
        for candidate, position in zip(candidates, distinct.positions, strict=True):
            if position is not None:
                authors[position] |= asking.authors.get(candidate, frozenset())
        ballots = self._ballots(prompt, texts, authors, asking)
        numbers = [distinct.positions.index(position) + 1 for position in range(len(texts))]
        reasons: list[str] = []
        problems: list[str] = []
        if ballots:
            cast = self._cast(ballots, numbers, asking, reasons, problems)
        else:
            cast = _agreement(authors)
            reasons.append("members agree, so none was asked: each counts as a vote for its own answer")
        if not cast:
            raise RankerError(f"{self.name} has no vote: {'; '.join(problems)}; use judges that follow instructions")
        scores = self._scores(list(cast.values()), len(texts))
        evidence = {}
        for name, votes in cast.items():
            said = self._said(votes, len(texts))
            spread = [math.nan if position is None else said[position] for position in distinct.positions]
            evidence[f"{self.name}: {name}"] = spread
        return Ranking.from_scores(
            distinct.spread_scores([round(score, 9) for score in scores]),
            ranker=self.name,
            evidence=evidence,
            reasons=reasons,
            problems=problems,
        )

    def _cast(
        self,
        ballots: Sequence[_Ballot],
        numbers: Sequence[int],
        asking: Asking,
        reasons: list[str],
        problems: list[str],
    ) -> dict[str, _Vote]:
        """Ask the judges, and read the vote of each that gave one."""
        replies = asking.ask(
            self.name,
            [(ballot.judge, ballot.listing.prompt) for ballot in ballots],
            concurrency=len(ballots),
            all_needed=False,
        )
        cast: dict[str, _Vote] = {}
        for ballot, reply in zip(ballots, replies, strict=True):
            read = ballot.listing.read(reply.text, numbers) if isinstance(reply, Answer) else None
            if read is None:
                why = f"no ranking in {reply.text[:80]!r}" if isinstance(reply, Answer) else str(reply)
                problems.append(f"{self.name}: no vote of {ballot.name}: {why}")
                continue
            cast[ballot.name], reason = read
            if reason:
                reasons.append(f"{ballot.name}: {reason}")
        return cast

    def _ballots(self, prompt: str, texts: Sequence[str], authors: Sequence[set[str]], asking: Asking) -> list[_Ballot]:
        judges: list[tuple[str, Member]]
        if self._judges is not None:
            judges = [
                (judge, named_member(judge, asking.members)) if isinstance(judge, str) else (judge.name, judge)
                for judge in self._judges
            ]
        else:
            # a member whose own answer cannot win judges, too
            answered = frozenset().union(*asking.authors.values())
            judges = [pair for pair in asking.members.items() if pair[0] in answered and pair[1].follows_instructions]
        ballots: list[_Ballot] = []
        for place, (name, member) in enumerate(judges):
            # a jury's judges may share names with each other, so a name is made unique
            label = name if name not in {ballot.name for ballot in ballots} else f"{name}#{place + 1}"
            others = [position for position in range(len(texts)) if name not in authors[position]]
            if len(others) > 1:
                ballots.append(_Ballot(label, member, make_listing(prompt, texts, others, label, self._options)))
        if not ballots and not judges:
            raise RankerError(f"{self.name} has no judges: use it as the ranker of a blend, or give it LLMs")
        wrote = set().union(*authors)
        if not ballots and len(wrote) < 3:
            raise RankerError(
                f"{self.name}: answers of {len(wrote)} members are left, and each judge needs two answers of others; "
                "use more members"
            )
        return ballots

    def _scores(self, cast: Sequence[_Vote], count: int) -> list[float]:
        wins = [[0.0] * count for _ in range(count)]
        for votes in cast:
            for (i, j), verdict in votes.items():
                wins[i][j] += (1.0 + verdict) / 2.0
                wins[j][i] += (1.0 - verdict) / 2.0
        if self._aggregate == "borda":
            # from all won to none won: two agreeing votes
            return [2.0 * self._evidence * (share - 0.5) for share in map(_share, wins, zip(*wins, strict=True))]
        # drawn towards a draw, so that one vote has the odds of its reliability; no vote on a pair, no evidence
        drawn = 1.0 / math.expm1(self._evidence)
        logits = [[math.nan] * count for _ in range(count)]
        for i, j in itertools.permutations(range(count), 2):
            if wins[i][j] + wins[j][i]:
                logits[i][j] = math.log((wins[i][j] + drawn) / (wins[j][i] + drawn))
        return list(bradley_terry(logits).strengths)

    def _said(self, votes: _Vote, count: int) -> list[float]:
        """The mean log-odds of each text against the others in one vote; ``nan`` for those that it did not see."""
        rows: list[list[float]] = [[] for _ in range(count)]
        for (i, j), verdict in votes.items():
            rows[i].append(verdict)
            rows[j].append(-verdict)
        return [self._evidence * math.fsum(row) / len(row) if row else math.nan for row in rows]

    def __repr__(self) -> str:
        judges = (
            "members"
            if self._judges is None
            else ", ".join(judge if isinstance(judge, str) else judge.name for judge in self._judges)
        )
        return f"PeerRanker({judges}, votes={self._aggregate!r})"


_Vote = Mapping[tuple[int, int], float]
"""Pair of texts -> 1 if the first is better, -1 if the second is, 0 for a tie."""


class _Ballot(NamedTuple):
    """What one judge is shown."""

    name: str
    judge: Member
    listing: Listing


def _agreement(authors: Sequence[set[str]]) -> dict[str, _Vote]:
    """Count each member as a vote for the text that it wrote."""
    places = range(len(authors))
    return {
        name: {(own, other): 1.0 for other in places if other != own} for own in places for name in sorted(authors[own])
    }


def _share(won: Sequence[float], lost: Sequence[float]) -> float:
    """The share of the pairs that are won; half if there is none."""
    total = math.fsum(itertools.chain(won, lost))
    return math.fsum(won) / total if total else 0.5

"""Rank with an LLM as the judge: of all answers in one call, of each by itself, or of pairs.

The pairwise judge is that of Zheng et al. 2023 ("Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", section 3):
each pair is shown twice with the answers swapped, because judges favour a position.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from blender_core.errors import ConfigurationError, RankerError
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.rank.asking import asking_now, remedy_of
from blender_core.rank.judge_prompts import (
    HIGHEST_GRADE,
    LOWEST_GRADE,
    grade_prompt,
    judge_prompt,
    labels_of,
    listing_prompt,
)
from blender_core.rank.verdicts import expected_grade, expected_verdict, read_grade, read_ranking, read_verdict
from blender_core.redaction import told
from blender_core.runtime.numbers import check_number
from blender_core.text.distinct import distinct_candidates
from blender_core.text.unicode import without_surrogates
from blender_core.types.answer import Answer, Usage
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking, direct_confidence

__all__ = [
    "JudgeMode",
    "Judgement",
    "LLMJudge",
    "Listing",
    "call_options",
    "evidence_of",
    "make_listing",
    "named_member",
]

JudgeMode = Literal["auto", "listwise", "pointwise", "pairwise"]
"""How a judge sees the answers; ``"auto"`` is pairwise up to 3 answers, else listwise."""
_MOST_IN_PAIRS = 3
_LABEL = re.compile(r"\[([A-Z]{1,2})\]")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's ranking with its verdicts.

    Attributes:
        ranking: The ranking.
        verdicts: ``(i, j)`` -> the verdict on i and j, with i shown first: 1 for i, -1 for j, 0 for a tie or an
            unreadable reply; between these if the reply held probabilities, or grades were near. Of duplicates only the
            first copy is shown.
        unreadable: Replies in which no verdict was found; each counts as a tie.
        contradictions: Pairs whose two orders named different winners: position bias.
        usage: Tokens used, ``None`` if no reply reported them.
        reasons: Reasons that the replies gave; ``[2]`` is the second candidate. Pairwise verdicts give none.
        mode: How the answers were shown.
    """

    ranking: Ranking
    verdicts: Mapping[tuple[int, int], float]
    unreadable: int
    contradictions: int
    usage: Usage | None
    reasons: tuple[str, ...] = ()
    mode: JudgeMode = "pairwise"


class Listing(NamedTuple):
    """Answers as they are shown to a judge that ranks all of them.

    Attributes:
        order: Position of each shown answer among the texts.
        labels: Their labels.
        prompt: The prompt.
    """

    order: tuple[int, ...]
    labels: tuple[str, ...]
    prompt: Prompt

    def read(self, reply: str, numbers: Sequence[int]) -> tuple[dict[tuple[int, int], float], str] | None:
        """Read the verdict on each pair as it was shown, and the reason; ``None`` if the reply holds no ranking.

        In the reason labels become ``numbers``, one for each text.
        """
        read = read_ranking(reply, self.labels)
        if read is None:
            return None
        shown = dict(zip(self.labels, self.order, strict=True))
        ranks = {shown[label]: rank for rank, group in enumerate(read.groups) for label in group}
        # the one that was shown first stands first in the pair
        verdicts = {(i, j): float((ranks[i] < ranks[j]) - (ranks[i] > ranks[j])) for i, j in _pairs(self.order)}
        return verdicts, _LABEL.sub(lambda match: self._number(match, numbers), read.reason)

    def _number(self, match: re.Match[str], numbers: Sequence[int]) -> str:
        label = match[1]
        return f"[{numbers[self.order[self.labels.index(label)]]}]" if label in self.labels else match[0]


class LLMJudge:
    """Ranks by asking an LLM about all answers at once, about each, or about every pair.

    A verdict for i adds ``log(r / (1 - r))`` to the logit that i is better than j; r is the ``reliability``. A tie adds
    nothing. A score is the mean logit against all others (MaxLogits, LLM-Blender, section 3.3). A reply that holds the
    log-probabilities of its tokens gives an expected verdict between these. Safe to call from several threads if the
    LLM is. Inside a blend its calls keep the budget and the deadline, and count in the result.

    Args:
        llm: The judge; anything that can be a member. A text names a member of the blend that ranks.
        name: Shown in results; default is ``"judge:<member>"``.
        mode: ``"listwise"`` shows all answers in one call, in shuffled order. ``"pointwise"`` grades each answer by
            itself, n calls. ``"pairwise"`` compares every pair, n (n - 1) calls. ``"auto"`` (default) is pairwise up
            to 3 answers, else listwise.
        both_orders: Show the answers in two opposite orders, so that position bias cancels out. Default: pairwise yes,
            listwise no. It doubles the calls.
        reliability: Probability that one verdict is right, above 0.5 and below 1. The default of 0.75 is an
            assumption; with two agreeing verdicts the probability is 0.9.
        concurrency: Most calls at once.
        options: Call options for the judge, for example ``{"temperature": 0.0}``. An OpenAI-compatible member gives
            probabilities with ``{"logprobs": True, "top_logprobs": 5}``. Default: the LLM's own.
        read: Finds the verdict in a pairwise reply; see ``read_verdict``.

    Raises:
        ConfigurationError: ``reliability``, ``concurrency`` or ``mode`` cannot work.

    Examples:
        >>> judge = LLMJudge(lambda text: "Better: A" if "Paris" in text.split("<answer_b>")[0] else "Better: B")
        >>> judge.rank("Capital of France?", ["Rome", "Paris"]).best
        1
    """

    def __init__(
        self,
        llm: Any,
        *,
        name: str | None = None,
        mode: JudgeMode = "auto",
        both_orders: bool | None = None,
        reliability: float = 0.75,
        concurrency: int = 4,
        options: Mapping[str, Any] | None = None,
        read: Callable[[str], int | None] = read_verdict,
    ) -> None:
        check_number("concurrency", concurrency, least=1, whole=True)
        if mode not in get_args(JudgeMode):
            raise ConfigurationError(f"mode is {mode!r}; use one of {', '.join(get_args(JudgeMode))}")
        self._evidence = evidence_of(reliability)
        self._llm: Member | str = llm if isinstance(llm, str) else as_member(llm)
        self.name = name or f"judge:{llm if isinstance(self._llm, str) else self._llm.name}"
        self._mode: JudgeMode = mode
        self._both_orders = both_orders
        self._concurrency = concurrency
        self._options = call_options(options)
        self._read = read

    spends = True
    """It is shown only answers that can still win."""

    @property
    def named_members(self) -> tuple[str, ...]:
        """Names of the members of the blend that it needs."""
        return (self._llm,) if isinstance(self._llm, str) else ()

    def calls(self, answers: int) -> int:
        """Count the LLM calls that a ranking makes.

        Args:
            answers: Different answers.

        Returns:
            The calls; 0 if there is nothing to compare.

        Examples:
            >>> [LLMJudge(str.upper, mode=mode).calls(5) for mode in ("pairwise", "pointwise", "listwise", "auto")]
            [20, 5, 1, 1]
        """
        if answers < 2:
            return 0
        mode = self._mode_of(answers)
        if mode == "pairwise":
            return answers * (answers - 1) // (2 if self._both_orders is False else 1)
        return answers if mode == "pointwise" else 2 if self._both_orders else 1

    def _mode_of(self, answers: int) -> JudgeMode:
        if self._mode != "auto":
            return self._mode
        return "listwise" if answers > _MOST_IN_PAIRS else "pairwise"

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by the judge's verdicts; see ``Ranker.rank``.

        Raises:
            RankerError: As of ``judge``; or it named the answer at one place in every pair, whatever stood there.
        """
        judgement = self.judge(prompt, candidates)
        if judgement.contradictions and 2 * judgement.contradictions == len(judgement.verdicts):
            raise RankerError(
                f"{self.name} contradicted itself on {_counted(judgement.contradictions, 'pair')}, all that it saw, "
                "when the answers changed places; use a stronger judge"
            )
        return judgement.ranking

    def judge(self, prompt: str, candidates: Sequence[str]) -> Judgement:
        """Rank, and report the verdicts.

        Args:
            prompt: The prompt.
            candidates: At least one answer.

        Returns:
            The judgement.

        Raises:
            ConfigurationError: The judge is named, and no member of the blend is called so.
            RankerError: A call failed, no reply holds a verdict, or the calls do not fit the blend's budget.
        """
        distinct = distinct_candidates(candidates)
        count = len(distinct.texts)
        mode = self._mode_of(count)
        shown = [distinct.positions.index(position) for position in range(count)]
        look = {"listwise": self._list, "pointwise": self._grade, "pairwise": self._compare}[mode]
        votes = look(prompt, distinct.texts, [index + 1 for index in shown])
        logits = [[0.0] * count for _ in range(count)]
        for (i, j), verdict in votes.verdicts.items():
            logits[i][j] += verdict * self._evidence
            logits[j][i] -= verdict * self._evidence
        scores = [round(math.fsum(row) / max(1, count - 1), 9) for row in logits]
        contradictions = sum(
            verdict * votes.verdicts.get((j, i), 0.0) > 0 for (i, j), verdict in votes.verdicts.items() if i < j
        )
        problems = []
        if votes.unreadable:
            problems.append(f"{self.name}: {votes.unreadable} of {len(votes.replies)} replies held no verdict")
        if contradictions:
            problems.append(
                f"{self.name}: its verdict on {_counted(contradictions, 'pair')} changed with the places of the answers"
            )
        ranking = Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self.name,
            comparisons=distinct.spread_matrix(logits),
            reasons=votes.reasons,
            problems=problems,
        )
        return Judgement(
            ranking=_with_confidence(ranking),
            verdicts={(shown[i], shown[j]): verdict for (i, j), verdict in votes.verdicts.items()},
            unreadable=votes.unreadable,
            contradictions=contradictions,
            usage=_summed([answer.usage for answer in votes.replies if answer.usage is not None]),
            reasons=votes.reasons,
            mode=mode,
        )

    def ordered_logits(self, prompt: str, candidates: Sequence[str]) -> tuple[tuple[float, ...], ...]:
        """Return the evidence of every pairwise verdict, always in both orders; see ``PairRanker``.

        Args:
            prompt: The prompt.
            candidates: At least one answer, none blank and no two alike.

        Returns:
            Matrix ``M`` of shape [n, n]: ``M[i][j]`` is the logit that i is better than j, with i shown first. It is 0
            for a tie or an unreadable reply.

        Raises:
            RankerError: A call failed, or no reply holds a verdict.
        """
        judge = copy.copy(self)
        judge._both_orders = True
        judge._mode = "pairwise"
        verdicts = judge.judge(prompt, candidates).verdicts
        places = range(len(candidates))
        return tuple(tuple(self._evidence * verdicts.get((i, j), 0.0) for j in places) for i in places)

    # -- the three ways --------------------------------------------------------------------------------------

    def _compare(self, prompt: str, texts: Sequence[str], numbers: Sequence[int]) -> _Votes:
        both = self._both_orders is not False
        pairs = [
            pair
            for i, j in itertools.combinations(range(len(texts)), 2)
            # with one order each candidate is shown first about half of the time
            for pair in ([(i, j), (j, i)] if both else [(i, j) if (i + j) % 2 else (j, i)])
        ]
        if not pairs:
            return _Votes((), {}, 0, ())
        replies = self._ask([judge_prompt(prompt, texts[i], texts[j], self._options) for i, j in pairs])
        read = [self._read(answer.text) for answer in replies]
        verdicts = {
            pair: 0.0 if verdict is None else expected_verdict(answer, verdict)
            for pair, verdict, answer in zip(pairs, read, replies, strict=True)
        }
        return self._votes(replies, verdicts, sum(verdict is None for verdict in read), ())

    def _grade(self, prompt: str, texts: Sequence[str], numbers: Sequence[int]) -> _Votes:
        if len(texts) < 2:
            return _Votes((), {}, 0, ())
        replies = self._ask([grade_prompt(prompt, text, self._options) for text in texts])
        read = [read_grade(answer.text, LOWEST_GRADE, HIGHEST_GRADE) for answer in replies]
        grades = [
            None if found is None else expected_grade(answer, found[0], LOWEST_GRADE, HIGHEST_GRADE)
            for found, answer in zip(read, replies, strict=True)
        ]
        verdicts: dict[tuple[int, int], float] = {}
        for i, j in itertools.combinations(range(len(texts)), 2):
            one, other = grades[i], grades[j]
            # a whole grade apart is a verdict, less is a part of one
            verdicts[(i, j)] = 0.0 if one is None or other is None else max(-1.0, min(1.0, one - other))
        reasons = tuple(
            f"[{number}]: {found[1]}" for number, found in zip(numbers, read, strict=True) if found and found[1]
        )
        return self._votes(replies, verdicts, grades.count(None), reasons)

    def _list(self, prompt: str, texts: Sequence[str], numbers: Sequence[int]) -> _Votes:
        if len(texts) < 2:
            return _Votes((), {}, 0, ())
        first = make_listing(prompt, texts, range(len(texts)), self.name, self._options)
        listings = [first]
        if self._both_orders:
            # the opposite order, so that each answer has been before and behind each other one
            listings.append(
                Listing(
                    first.order[::-1],
                    first.labels,
                    listing_prompt(prompt, [texts[i] for i in first.order[::-1]], first.labels, self._options),
                )
            )
        replies = self._ask([listing.prompt for listing in listings])
        read = [listing.read(answer.text, numbers) for listing, answer in zip(listings, replies, strict=True)]
        verdicts: dict[tuple[int, int], float] = {}
        for listing, found in zip(listings, read, strict=True):
            verdicts |= dict.fromkeys(_pairs(listing.order), 0.0) if found is None else found[0]
        reasons = tuple(found[1] for found in read if found is not None and found[1])
        return self._votes(replies, verdicts, read.count(None), reasons)

    def _votes(
        self,
        replies: Sequence[Answer],
        verdicts: Mapping[tuple[int, int], float],
        unreadable: int,
        reasons: Sequence[str],
    ) -> _Votes:
        if replies and unreadable == len(replies):
            count = f"{len(replies)} replies" if len(replies) > 1 else "its reply"
            raise RankerError(
                f"{self.name} gave no verdict in {count}, the first was {replies[0].text[:80]!r}; "
                "use a judge that follows instructions, or raise its max_tokens"
            )
        return _Votes(tuple(replies), verdicts, unreadable, tuple(reasons))

    # -- asking ----------------------------------------------------------------------------------------------

    def _ask(self, prompts: Sequence[Prompt]) -> list[Answer]:
        asking = asking_now()
        judge = self._llm
        if isinstance(judge, str):
            judge = named_member(judge, asking.members)
        try:
            return asking.ask(
                self.name, [(judge, prompt) for prompt in prompts], concurrency=self._concurrency, all_needed=True
            )
        except RankerError:
            raise
        except Exception as error:
            raise RankerError(
                f"{self.name} failed on a call of {len(prompts)}: {told(error)}; {remedy_of(error)}"
            ) from error

    def __repr__(self) -> str:
        orders = "" if self._both_orders is None else f", both_orders={self._both_orders}"
        return f"LLMJudge(name={self.name!r}, mode={self._mode!r}{orders})"


class _Votes(NamedTuple):
    """What the replies say about pairs of texts."""

    replies: tuple[Answer, ...]
    verdicts: Mapping[tuple[int, int], float]
    unreadable: int
    reasons: tuple[str, ...]


def evidence_of(reliability: float) -> float:
    """Return the log-odds of one verdict that is right with this probability.

    Raises:
        ConfigurationError: The probability is not above 0.5 and below 1.
    """
    check_number("reliability", reliability, above=0.5, below=1)
    return math.log(reliability / (1.0 - reliability))


def call_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Copy the call options of a judge.

    Raises:
        ConfigurationError: They are no mapping.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ConfigurationError(f'options is {options!r}; give a mapping, such as {{"temperature": 0.0}}')
    return dict(options or {})


def make_listing(
    prompt: str, texts: Sequence[str], shown: Sequence[int], seed: str, options: Mapping[str, Any]
) -> Listing:
    """Shuffle answers and label them; the same call is shuffled the same way.

    Args:
        prompt: The prompt of the answers.
        texts: All texts.
        shown: Positions of those that are shown.
        seed: Makes the order differ between judges.
        options: Call options of the judge.

    Returns:
        The listing.

    Raises:
        RankerError: There are more answers than labels.
    """
    labels = labels_of(len(shown))
    if len(labels) < len(shown):
        raise RankerError(f"{len(shown)} answers do not fit one listing of at most {len(labels)}; use mode='pointwise'")
    # by the texts, so that the order in which they were given says nothing
    order = sorted(shown, key=lambda place: texts[place])
    random.Random(without_surrogates(f"{seed}\0{prompt}\0{len(texts)}")).shuffle(order)
    return Listing(tuple(order), labels, listing_prompt(prompt, [texts[place] for place in order], labels, options))


def named_member(name: str, members: Mapping[str, Member]) -> Member:
    """Find a member of the blend by its name.

    Raises:
        ConfigurationError: No member is called so; the message lists the names.
    """
    member = members.get(name)
    if member is None:
        known = f"the members are {', '.join(members)}" if members else "it ranks outside of a blend; give it an LLM"
        raise ConfigurationError(f"no member is called {name!r} that could judge: {known}")
    return member


def _pairs(order: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.combinations(order, 2))


def _summed(usages: Sequence[Usage]) -> Usage | None:
    return sum(usages, Usage()) if usages else None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number > 1 else "")


def _with_confidence(ranking: Ranking) -> Ranking:
    """Take the confidence from the direct comparison of the first two."""
    if len(ranking.order) < 2 or ranking.confidence == 1.0:
        return ranking
    return replace(ranking, confidence=direct_confidence(ranking))

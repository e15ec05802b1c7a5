"""Who is better, according to whom: an oracle's verdicts on pairs, or a score.

MixInstruct's oracle is ChatGPT's verdict on every pair (LLM-Blender, section 3.2). Without verdicts a
score of each answer decides: the greater one is better, equal ones tie.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from blender_core.errors import ConfigurationError
from blender_lab.data.mixinstruct import MixRecord, Verdict

__all__ = [
    "Against",
    "Oracle",
    "ScoreOracle",
    "TieConvention",
    "VerdictOracle",
    "filled_scores",
    "gpt_ranks",
    "resolve_oracle",
    "tally",
]


class TieConvention(StrEnum):
    """What "Same good" and "Same bad" are worth when verdicts are added up.

    Attributes:
        CANCEL: A win counts 1, a loss -1, both kinds of tie nothing: what ``llm-blender`` 0.0.2 computes: its
            half points of a tie cancel.
        POINTS: A win counts 1, "Same good" one half for both, "Same bad" and a loss nothing: how the authors
            recomputed their table in an issue (LLM-Blender #6).
    """

    CANCEL = "cancel"
    POINTS = "points"


_WORTH = {
    TieConvention.CANCEL: {
        Verdict.A_IS_BETTER: (1.0, -1.0),
        Verdict.B_IS_BETTER: (-1.0, 1.0),
        Verdict.SAME_GOOD: (0.0, 0.0),
        Verdict.SAME_BAD: (0.0, 0.0),
    },
    TieConvention.POINTS: {
        Verdict.A_IS_BETTER: (1.0, 0.0),
        Verdict.B_IS_BETTER: (0.0, 1.0),
        Verdict.SAME_GOOD: (0.5, 0.5),
        Verdict.SAME_BAD: (0.0, 0.0),
    },
}


class Oracle(Protocol):
    """Knows which candidates of a record are better."""

    @property
    def name(self) -> str:
        """Shown in reports."""

    def scores(self, record: MixRecord, pool: Sequence[int]) -> tuple[float, ...] | None:
        """Rate every candidate among those of the pool.

        Args:
            record: The record.
            pool: Indices of the candidates that count as opponents.

        Returns:
            One number a candidate, greater is better, ``nan`` if the oracle says nothing; ``None`` if it says
            nothing on the whole record.
        """

    def verdict(self, record: MixRecord, first: int, second: int) -> Verdict | None:
        """Look up the verdict on two candidates, ``first`` as A; ``None`` without one."""


class VerdictOracle:
    """The verdicts of ``cmp_results``.

    Args:
        ties: What ties are worth.

    Examples:
        >>> record = MixRecord.from_dict({"instruction": "?", "candidates": [{"model": m, "text": m} for m in "abc"],
        ...     "cmp_results": {"a,b": "A is better", "b,c": "Same good", "a,c": "Same bad"}})
        >>> VerdictOracle().scores(record, [0, 1, 2])
        (0.5, -0.5, 0.0)
        >>> VerdictOracle(TieConvention.POINTS).scores(record, [0, 1, 2])
        (0.5, 0.25, 0.25)
    """

    name = "verdicts"

    def __init__(self, ties: TieConvention | str = TieConvention.CANCEL) -> None:
        try:
            self._worth = _WORTH[TieConvention(ties)]
        except ValueError as error:
            raise ConfigurationError(f"ties is {ties!r}; choose one of {', '.join(TieConvention)}") from error

    def scores(self, record: MixRecord, pool: Sequence[int]) -> tuple[float, ...] | None:
        """Average the worth of a candidate's verdicts against the pool; see ``Oracle.scores``.

        If every pair was judged, this orders like the sum of the verdicts, which the paper takes. If some are
        missing it does not favour who was judged more often. A pair judged in both orders counts once, half a point
        for each.
        """
        if not record.cmp_results:
            return None
        places = {model: index for index, model in reversed(list(enumerate(record.models)))}
        opponents = set(pool)
        worth: dict[tuple[int, int], list[float]] = {}
        for (first, second), verdict in record.cmp_results.items():
            i, j = places.get(first), places.get(second)
            if i is None or j is None or i == j:
                continue
            for_first, for_second = self._worth[verdict]
            worth.setdefault((i, j), []).append(for_first)
            worth.setdefault((j, i), []).append(for_second)
        totals: list[list[float]] = [[] for _ in record.candidates]
        for (i, j), points in worth.items():
            if j in opponents:
                totals[i].append(math.fsum(points) / len(points))
        return tuple(math.fsum(points) / len(points) if points else math.nan for points in totals)

    def verdict(self, record: MixRecord, first: int, second: int) -> Verdict | None:
        """Look up the verdict that was given; see ``Oracle.verdict``."""
        return record.verdict(record.models[first], record.models[second])


class ScoreOracle:
    """A score of each answer.

    Args:
        metric: Its name in the candidates' ``scores``.
        good: Equal scores from this one on are "Same good", below it "Same bad". ``None``: every tie is good.

    Examples:
        >>> record = MixRecord.from_dict({"instruction": "?", "candidates": [
        ...     {"text": "x", "scores": {"right": 0}}, {"text": "y", "scores": {"right": 1}}]})
        >>> ScoreOracle("right").scores(record, [0, 1]), ScoreOracle("right").verdict(record, 0, 1)
        ((0.0, 1.0), <Verdict.B_IS_BETTER: 'B is better'>)
    """

    def __init__(self, metric: str, *, good: float | None = None) -> None:
        self.name = metric
        self._good = good

    def scores(self, record: MixRecord, pool: Sequence[int]) -> tuple[float, ...] | None:
        """Look up the scores; a blank answer without one gets the lowest of its record."""
        return filled_scores(record, self.name)

    def verdict(self, record: MixRecord, first: int, second: int) -> Verdict | None:
        """Compare two scores, the greater wins; see ``Oracle.verdict``."""
        scores = filled_scores(record, self.name)
        if scores is None or math.isnan(scores[first] + scores[second]):
            return None
        if scores[first] != scores[second]:
            return Verdict.A_IS_BETTER if scores[first] > scores[second] else Verdict.B_IS_BETTER
        return Verdict.SAME_GOOD if self._good is None or scores[first] >= self._good else Verdict.SAME_BAD


def filled_scores(record: MixRecord, metric: str) -> tuple[float, ...] | None:
    """Look up a metric's values, with ``nan`` for missing ones.

    Args:
        record: The record.
        metric: The metric's name.

    Returns:
        One value a candidate. A blank answer without a value gets the lowest one of the record, so that a member
        does not gain by saying nothing. ``None`` if no candidate has a value.
    """
    values = record.scores(metric)
    known = [value for value in values if value is not None]
    if not known:
        return None
    lowest = min(known)
    return tuple(
        value if value is not None else math.nan if candidate.answered else lowest
        for value, candidate in zip(values, record.candidates, strict=True)
    )


def resolve_oracle(
    oracle: str,
    records: Iterable[MixRecord],
    *,
    ties: TieConvention | str = "cancel",
    metrics: Sequence[str] = (),
) -> Oracle:
    """Find the oracle.

    Args:
        oracle: ``"verdicts"``, the name of a score, or ``"auto"``: verdicts if there are some, else the only
            score, else ``"correct"`` or ``"score"``, else the only metric.
        records: The records.
        ties: What ties among verdicts are worth.
        metrics: Names of metrics that will be computed against references.

    Returns:
        The oracle.

    Raises:
        ConfigurationError: The records hold no such thing, or ``"auto"`` finds more than one score.
    """
    verdicts = VerdictOracle(ties)
    names: set[str] = set()
    judged = False
    for record in records:
        judged = judged or bool(record.cmp_results)
        names.update(name for candidate in record.candidates for name in candidate.scores)
    found = [*(["verdicts"] if judged else []), *sorted(names)]
    if oracle in found or oracle in metrics:
        return verdicts if oracle == "verdicts" else ScoreOracle(oracle)
    if oracle == "auto":
        if judged:
            return verdicts
        usual: list[str] = [name for name in ("correct", "score") if name in names]
        plain = usual[:1] or sorted(names) or list(metrics)
        if len(plain) == 1:
            return ScoreOracle(plain[0])
    raise ConfigurationError(
        f"the oracle {oracle!r} cannot be had; the records hold {', '.join(found) or 'neither verdicts nor scores'}; "
        "name one of these or a metric as the oracle, or add scores to the candidates, as blended-llm mix writes them"
    )


_SHARED = ("min", "average")


def gpt_ranks(scores: Sequence[float], pool: Sequence[int] | None = None, *, shared: str = "min") -> tuple[float, ...]:
    """Rank each candidate by the oracle's scores; 1 is best.

    Args:
        scores: The oracle's score of each candidate, greater is better; ``nan`` without one.
        pool: Indices of the candidates that are ranked among each other; ``None`` for all. A candidate outside of it,
            such as a fused answer, gets the rank that it would have if it joined the pool.
        shared: What equal candidates get: the ``"min"`` of their ranks, as in ``llm-blender`` 0.0.2, or the
            ``"average"``, which keeps the mean rank at (n + 1) / 2.

    Returns:
        One rank a candidate, ``nan`` if it has no score.

    Raises:
        ConfigurationError: ``shared`` is unknown.

    Examples:
        >>> gpt_ranks([0.5, 0.9, 0.5, 0.1])
        (2.0, 1.0, 2.0, 4.0)
        >>> gpt_ranks([0.5, 0.9, 0.5, 0.1], shared="average")
        (2.5, 1.0, 2.5, 4.0)
    """
    if shared not in _SHARED:
        raise ConfigurationError(f"shared is {shared!r}; choose one of {', '.join(_SHARED)}")
    pool = range(len(scores)) if pool is None else pool
    ranks = []
    for index, own in enumerate(scores):
        others = [scores[other] for other in pool if other != index]
        rank = 1.0 + sum(other > own for other in others)
        if shared == "average":
            rank += 0.5 * sum(other == own for other in others)
        ranks.append(math.nan if math.isnan(own) else rank)
    return tuple(ranks)


@dataclass(frozen=True, slots=True)
class Against:
    """How picks compare with one member's answers, as shares of the prompts, adding up to 1.

    Attributes:
        member: The member's name.
        prompts: Prompts that could be compared.
        better: The pick is better.
        same_good: Both are good.
        same_bad: Both are bad.
        worse: The pick is worse.
        itself: The pick is that member's own answer.
    """

    member: str
    prompts: float
    better: float
    same_good: float
    same_bad: float
    worse: float
    itself: float

    @property
    def at_least_as_good(self) -> float:
        """Better, the same good, or the member's own answer."""
        return self.better + self.same_good + self.itself

    @property
    def as_published(self) -> float:
        """The column of Table 2: better or the same good, the member's own answer not counted.

        The paper does not say what happens if a method picks the member itself. Its Random row does: 37.75 is the
        mean of the members' entries if the member itself enters with 0 (37.95), not with 100 (47.0).
        """
        return self.better + self.same_good

    @property
    def points(self) -> float:
        """Better counts 1, the same good one half: the authors' recomputation in LLM-Blender issue #6.

        The member's own answer counts one half.
        """
        return self.better + 0.5 * (self.same_good + self.itself)


def tally(member: str, outcomes: Iterable[tuple[float, Verdict | None]]) -> Against:
    """Add up verdicts.

    Args:
        member: The member's name.
        outcomes: Pairs of a weight and the verdict with the pick as A; ``None`` if the pick is the member itself.

    Returns:
        The shares; ``nan`` if there is nothing to add up.

    Examples:
        >>> verdicts = [Verdict.A_IS_BETTER, Verdict.SAME_GOOD, None, Verdict.SAME_BAD]
        >>> against = tally("vicuna", [(1, verdict) for verdict in verdicts])
        >>> against.at_least_as_good, against.as_published, against.points
        (0.75, 0.5, 0.5)
    """
    sums: dict[Verdict | None, float] = {}
    for weight, verdict in outcomes:
        sums[verdict] = sums.get(verdict, 0.0) + weight
    total = math.fsum(sums.values())

    def share(verdict: Verdict | None) -> float:
        return sums.get(verdict, 0.0) / total if total else math.nan

    return Against(
        member=member,
        prompts=total,
        better=share(Verdict.A_IS_BETTER),
        same_good=share(Verdict.SAME_GOOD),
        same_bad=share(Verdict.SAME_BAD),
        worse=share(Verdict.B_IS_BETTER),
        itself=share(None),
    )

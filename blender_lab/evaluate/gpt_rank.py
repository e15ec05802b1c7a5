"""GPT-Rank, Top-3 and "at least as good as": the columns of LLM-Blender's Table 2 that come from its oracle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blender_core.data.mixinstruct import Verdict
from blender_core.errors import ConfigurationError

__all__ = ["Against", "gpt_ranks", "tally"]

_SHARED = ("min", "average")


def gpt_ranks(scores: Sequence[float], pool: Sequence[int] | None = None, *, shared: str = "min") -> tuple[float, ...]:
    """Rank of each candidate, 1 is best.

    Args:
        scores: The oracle's score of each candidate, greater is better; ``nan`` where there is none.
        pool: Indices of the candidates that are ranked among each other; ``None`` for all. A candidate outside of it,
            such as a fused answer, gets the rank that it would have if it joined the pool.
        shared: What equal candidates get: the ``"min"`` of their ranks, as in ``llm-blender`` 0.0.2, or the
            ``"average"``, which keeps the mean rank at (n + 1) / 2.

    Returns:
        One rank a candidate, ``nan`` where it has no score.

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

        The paper does not say what happens where a method picks the member itself. Its Random row does: 37.75 is the
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
        outcomes: Pairs of a weight and the verdict with the pick as A; ``None`` where the pick is the member itself.

    Returns:
        The shares; ``nan`` where there is nothing to add up.

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

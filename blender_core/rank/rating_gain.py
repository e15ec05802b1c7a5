"""Measure what ratings are worth, each prompt with a prior that does not know its rating."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from blender_core.rank.member_prior import MemberPrior
from blender_core.types.ranking import Ranking

__all__ = ["RatingGain", "measure_ratings", "picks_by_member"]


@dataclass(frozen=True, slots=True)
class RatingGain:
    """How often a best-rated answer was picked, on prompts whose answers were not all rated alike.

    Attributes:
        prompts: Prompts that count.
        alone: Times the ranker alone picked a best answer.
        blended: Times it did so with the prior, learned from the other prompts.
        strongest: Times the answer of the strongest member was one, learned from the other prompts.
        helped: Prompts on which only the pick with the prior was right.
        hurt: Prompts on which only the ranker alone was right.
    """

    prompts: int
    alone: int
    blended: int
    strongest: int
    helped: int
    hurt: int

    @property
    def p_value(self) -> float:
        """Chance of a difference this large if the prior changed nothing: two-sided sign test, in (0, 1]."""
        trials = self.helped + self.hurt
        tail = sum(math.comb(trials, k) for k in range(max(self.helped, self.hurt), trials + 1))
        return min(1.0, math.ldexp(tail, 1 - trials))


def measure_ratings(prior: MemberPrior) -> RatingGain:
    """Compare the picks with and without a prior on its own rated prompts, leaving each one out in turn.

    Args:
        prior: With ratings of ``judge_answers``.

    Returns:
        The counts.

    Examples:
        >>> prior = MemberPrior()
        >>> ranking = Ranking.from_scores([0.1, 0.0], ranker="example")
        >>> for number in range(6):
        ...     prior.judge_answers(["small", "large"], ranking, [0, 1], prompt=f"{number}?")
        >>> gain = measure_ratings(prior)
        >>> gain.alone, gain.blended, gain.prompts
        (0, 6, 6)
    """
    state = prior.to_dict()
    counts: Counter[str] = Counter()
    for key, prompt in state["rated"].items():
        members, ratings = prompt["members"], prompt["ratings"]
        if not ratings or max(ratings) - min(ratings) <= prompt["gap"]:
            continue
        others = MemberPrior.from_dict(
            {**state, "rated": {one: held for one, held in state["rated"].items() if one != key}}
        )
        # the strengths are those of this prompt's ranker
        ranking = Ranking.from_scores(prompt["scores"], ranker=prompt["ranker"])
        strongest = others.strongest_first(members)[0]
        best = [rating >= max(ratings) - prompt["gap"] for rating in ratings]
        alone, blended = best[ranking.best], best[others.blend(members, ranking).best]
        counts.update(
            prompts=1,
            alone=alone,
            blended=blended,
            strongest=best[members.index(strongest)],
            helped=blended and not alone,
            hurt=alone and not blended,
        )
    return RatingGain(**{name: counts[name] for name in RatingGain.__slots__})


def picks_by_member(prior: MemberPrior) -> dict[str, int]:
    """Count whose answers a blend would pick on the rated prompts, knowing all their ratings.

    Args:
        prior: With ratings of ``judge_answers``.

    Returns:
        Picks by member, most first.
    """
    picks: Counter[str] = Counter()
    for prompt in prior.to_dict()["rated"].values():
        if prompt["members"]:
            ranking = Ranking.from_scores(prompt["scores"], ranker=prompt["ranker"])
            picks[prompt["members"][prior.blend(prompt["members"], ranking).best]] += 1
    return dict(picks.most_common())

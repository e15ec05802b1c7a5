"""Combine rankers: their weighted log-odds add up, and each part stays readable."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence, Set

from blender_core.errors import ConfigurationError, RankerError
from blender_core.rank.protocol import Ranker, prompt_for
from blender_core.rank.registry import resolve_ranker
from blender_core.rank.run import never_works, usable_ranking
from blender_core.redaction import told
from blender_core.runtime.numbers import check_number
from blender_core.runtime.threads import stop_if_given_up
from blender_core.text.distinct import distinct_candidates
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking

__all__ = ["CombinedRanker", "Gate"]

Gate = Callable[[str, Sequence[str]], Sequence[float]]
"""Takes the prompt and the distinct candidates, returns one weight for each ranker."""


class CombinedRanker:
    """Ranks by evidence that adds up: the weighted log-odds of several rankers.

    Each ranker's scores are taken as log-odds: the differences to their mean, divided by the ranker's temperature. Of a
    ranker whose scores have no scale, the best is one logit above the worst. A ranker with equal scores adds nothing. A
    weight of 1 takes a ranker at its word; weights below 1 suit rankers that judge by the same signs. The result says
    what each part said about each candidate (``Ranking.evidence``). In a blend ``member_prior`` adds as one more part.

    A part that gives no ranking, for example a judge that does not fit the budget, is left out, and
    ``Ranking.problems`` says so. One that can never work ends the ranking. With ``gate`` the weights depend on the
    prompt: a mixture of experts (Jacobs et al. 1991). The gate is your function, for example a classifier of prompts.

    Args:
        rankers: Rankers, or their names.
        weights: One for each ranker; a negative one reverses its ranker, 0 leaves it out. Default: all 1.
        gate: Chooses the weights for each prompt, instead of ``weights``.
        temperature: Divides the sum of the log-odds, for the confidence; above 1 if the parts are surer together than
            they should be.
        name: Shown in results.

    Raises:
        ConfigurationError: No rankers, weights that do not fit them, or both weights and a gate.

    Examples:
        >>> from blender_core.testing import FakeRanker
        >>> exclaims = FakeRanker(lambda text: text.count("!"))
        >>> ranking = CombinedRanker([exclaims, "longest"], weights=[3.0, 1.0]).rank("?", ["a!", "b", "ccc"])
        >>> ranking.order
        (0, 2, 1)
        >>> {name: [round(value, 2) for value in said] for name, said in ranking.evidence.items()}
        {'fake': [2.0, -1.0, -1.0], 'longest': [0.0, -0.5, 0.5]}
    """

    reads_conversations = True
    """Parts that read conversations get the turns."""

    def __init__(
        self,
        rankers: Sequence[Ranker | str | os.PathLike[str]],
        *,
        weights: Sequence[float] | None = None,
        gate: Gate | None = None,
        temperature: float = 1.0,
        name: str = "combination",
    ) -> None:
        if isinstance(rankers, str) or not rankers:
            raise ConfigurationError(f"rankers is {rankers!r}; give a list of at least one ranker")
        if weights is not None and gate is not None:
            raise ConfigurationError("both weights and a gate were given; the gate chooses the weights, so give one")
        check_number("temperature", temperature, above=0, finite=False)
        self._rankers = tuple(resolve_ranker(ranker) for ranker in rankers)
        self._gate = gate
        self._temperature = temperature
        self.name = name
        try:
            self._weights = self._checked([1.0] * len(self._rankers) if weights is None else weights)
        except RankerError as error:
            raise ConfigurationError(str(error)) from error

    def rank(self, prompt: str | Prompt, candidates: Sequence[str]) -> Ranking:
        """Rank by the weighted sum; see ``Ranker.rank``.

        Raises:
            BlendError: A ranker can never work, such as one whose checkpoint is wrong.
            RankerError: All rankers failed, or the gate did not return one finite weight for each.
        """
        distinct = distinct_candidates(candidates)
        if not distinct.texts:
            return Ranking.from_scores(distinct.spread_scores([]), ranker=self.name)
        text = prompt if isinstance(prompt, str) else prompt.text
        weights = self._weights if self._gate is None else self._checked(self._gate(text, distinct.texts))
        total = [0.0] * len(candidates)
        cut: dict[int, int] = {}
        evidence: dict[str, list[float]] = {}
        reasons: list[str] = []
        problems: list[str] = []
        for ranker, weight in zip(self._rankers, weights, strict=True):
            if weight == 0.0:
                continue
            # a part that was given up raises, too; then the next is not begun
            stop_if_given_up()
            try:
                # all candidates, not the distinct ones: consensus rankers count copies as votes
                ranking = usable_ranking(ranker.rank(prompt_for(ranker, prompt), candidates), candidates)
            except Exception as error:
                if never_works(error):
                    raise
                said_why = str(error) if isinstance(error, RankerError) else told(error)
                problems.append(f"{ranker.name} was left out: {said_why}")
                continue
            said = [weight * value for value in _log_odds(ranking, distinct.positions)]
            total = [sum(pair) for pair in zip(total, said, strict=True)]
            evidence[self._unique(ranker.name, evidence)] = said
            reasons.extend(ranking.reasons)
            problems.extend(ranking.problems)
            for index, tokens in ranking.cut.items():
                cut[index] = max(tokens, cut.get(index, 0))
        if not evidence:
            raise RankerError(f"no part of {self.name} gave a ranking: {'; '.join(problems)}")
        scores = [
            # rounded, so that equal sums tie
            -math.inf if position is None else round(score, 9)
            for score, position in zip(total, distinct.positions, strict=True)
        ]
        return Ranking.from_scores(
            scores,
            ranker=self.name,
            temperature=self._temperature,
            cut=cut,
            evidence={name: [value / self._temperature for value in said] for name, said in evidence.items()},
            reasons=reasons,
            problems=problems,
        )

    def warm_up(self) -> None:
        """Make the parts ready that have such a method.

        Raises:
            BlendError: One of them can never work.
        """
        for ranker, weight in zip(self._rankers, self._weights, strict=True):
            if weight and (make_ready := getattr(ranker, "warm_up", None)) is not None:
                make_ready()

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each ranker by its name; empty if a gate chooses them."""
        if self._gate is not None:
            return {}
        weights: dict[str, float] = {}
        for ranker, weight in zip(self._rankers, self._weights, strict=True):
            weights[self._unique(ranker.name, weights)] = weight
        return weights

    @property
    def spends(self) -> bool:
        """Whether a part is shown only answers that can still win; then all are."""
        return any(getattr(ranker, "spends", False) for ranker in self._rankers)

    @property
    def named_members(self) -> tuple[str, ...]:
        """Names of the members of the blend that its parts need."""
        return tuple(name for ranker in self._rankers for name in getattr(ranker, "named_members", ()))

    @property
    def needs_members(self) -> int:
        """Members of the blend that its parts need."""
        return max(getattr(ranker, "needs_members", 0) for ranker in self._rankers)

    @staticmethod
    def _unique(name: str, taken: Mapping[str, object]) -> str:
        places = (name if place == 1 else f"{name}#{place}" for place in itertools.count(1))
        return next(each for each in places if each not in taken)

    def _checked(self, weights: Sequence[float]) -> tuple[float, ...]:
        try:
            values = () if isinstance(weights, Mapping | Set) else tuple(float(weight) for weight in weights)
        except (TypeError, ValueError):
            values = ()
        if len(values) != len(self._rankers) or not all(map(math.isfinite, values)) or not any(values):
            raise RankerError(
                f"the weights {weights!r} do not fit {len(self._rankers)} rankers; "
                "give a list with one finite number for each, not all zero"
            )
        return values

    def __repr__(self) -> str:
        if self._gate is not None:
            return f"CombinedRanker({', '.join(ranker.name for ranker in self._rankers)}, gate={self._gate!r})"
        return f"CombinedRanker({' + '.join(f'{weight:g} * {name}' for name, weight in self.weights.items())})"


def _log_odds(ranking: Ranking, positions: Sequence[int | None]) -> list[float]:
    """Differences to the mean in logits; a score that is not finite becomes the lowest, a blank is ``nan``."""
    first: dict[int, float] = {}
    for position, score in zip(positions, ranking.scores, strict=True):
        if position is not None:
            # copies share the score of the first, even if a ranker scores them differently
            first.setdefault(position, score)
    finite = [score for score in first.values() if math.isfinite(score)]
    mean = math.fsum(finite) / len(finite) if finite else 0.0
    spread = max(map(abs, (score - mean for score in finite)), default=0.0)
    # a spread that comes from rounding counts as none
    scale = math.inf if spread <= 1e-12 * max(1.0, abs(mean)) else ranking.logit_scale
    lowest = min(((score - mean) / scale for score in finite), default=0.0)
    shared = [math.nan if position is None else first[position] for position in positions]
    return [
        math.nan if position is None else (score - mean) / scale if math.isfinite(score) else lowest
        for score, position in zip(shared, positions, strict=True)
    ]

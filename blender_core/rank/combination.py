"""Combine rankers by a weighted sum of their standardised scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from blender_core.errors import ConfigurationError, RankerError
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import resolve_ranker
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

__all__ = ["CombinedRanker", "Gate"]

Gate = Callable[[str, Sequence[str]], Sequence[float]]
"""Takes the prompt and the distinct candidates, returns one weight for each ranker."""


class CombinedRanker:
    """Ranks by a weighted sum of the scores of several rankers.

    Rankers use different scales. So each one's scores are standardised over the candidates of the prompt: mean 0,
    standard deviation 1. A ranker with equal scores adds nothing. Weights are divided by the sum of their absolute
    values. With ``gate`` the weights depend on the prompt: a mixture of experts (Jacobs et al. 1991). The gate is your
    function, for example a classifier of prompts.

    Args:
        rankers: Rankers, or their names.
        weights: One for each ranker; a negative one reverses its ranker. Default: all equal.
        gate: Chooses the weights for each prompt, instead of ``weights``.
        temperature: Divides the margin between the first two before the sigmoid of the confidence.
        name: Shown in results.

    Raises:
        ConfigurationError: No rankers, weights that do not fit them, or both weights and a gate.

    Examples:
        >>> from blender_core.testing import FakeRanker
        >>> exclaims = FakeRanker(lambda text: text.count("!"))
        >>> CombinedRanker([exclaims, "longest"], weights=[3.0, 1.0]).rank("?", ["a!", "b", "ccc"]).order
        (0, 2, 1)
    """

    def __init__(
        self,
        rankers: Sequence[Ranker | str],
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
        if not temperature > 0:
            raise ConfigurationError(f"temperature is {temperature}; it must be above zero")
        self._rankers = tuple(resolve_ranker(ranker) for ranker in rankers)
        self._gate = gate
        self._temperature = temperature
        self.name = name
        try:
            self._weights = self._shares([1.0] * len(self._rankers) if weights is None else weights)
        except RankerError as error:
            raise ConfigurationError(str(error)) from error

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank by the weighted sum; see ``Ranker.rank``.

        Raises:
            RankerError: A ranker failed, or the gate did not return one finite weight for each.
        """
        distinct = distinct_candidates(candidates)
        if not distinct.texts:
            return Ranking.from_scores(distinct.spread_scores([]), ranker=self.name)
        weights = self._weights if self._gate is None else self._shares(self._gate(prompt, distinct.texts))
        total = [0.0] * len(candidates)
        cut: dict[int, int] = {}
        for ranker, weight in zip(self._rankers, weights, strict=True):
            if weight == 0.0:
                continue
            # all candidates, not the distinct ones: consensus rankers count copies as votes
            ranking = ranker.rank(prompt, candidates)
            for index, score in enumerate(_standardised(ranking.scores, distinct.positions)):
                total[index] += weight * score
            for index, tokens in ranking.cut.items():
                cut[index] = max(tokens, cut.get(index, 0))
        scores = [
            # rounded, so that equal sums tie
            -math.inf if position is None else round(score, 9)
            for score, position in zip(total, distinct.positions, strict=True)
        ]
        return Ranking.from_scores(scores, ranker=self.name, temperature=self._temperature, cut=cut)

    def _shares(self, weights: Sequence[float]) -> tuple[float, ...]:
        values = tuple(float(weight) for weight in weights)
        size = math.fsum(map(abs, values))
        if len(values) != len(self._rankers) or not math.isfinite(size) or size == 0.0:
            raise RankerError(
                f"the weights {list(values)} do not fit {len(self._rankers)} rankers; give one finite number for each, "
                "not all zero"
            )
        return tuple(value / size for value in values)

    def __repr__(self) -> str:
        inner = ", ".join(ranker.name for ranker in self._rankers)
        return f"CombinedRanker({inner})"


def _standardised(scores: Sequence[float], positions: Sequence[int | None]) -> list[float]:
    """Scale to mean 0 and deviation 1; a score that is not finite becomes the lowest."""
    first: dict[int, float] = {}
    for position, score in zip(positions, scores, strict=True):
        if position is not None:
            # copies share the score of the first, even if a ranker scores them differently
            first.setdefault(position, score)
    finite = [score for score in first.values() if math.isfinite(score)]
    mean = math.fsum(finite) / len(finite) if finite else 0.0
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in finite) / len(finite)) if finite else 0.0
    # a deviation that comes from rounding counts as none
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        deviation = math.inf
    lowest = min(((score - mean) / deviation for score in finite), default=0.0)
    shared = [math.nan if position is None else first[position] for position in positions]
    return [(score - mean) / deviation if math.isfinite(score) else lowest for score in shared]

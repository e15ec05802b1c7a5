"""What a member prior must not take in: one number that is not finite spoils every later ranking."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blender_core.rank.member_strengths import Verdict
from blender_core.types.ranking import Ranking

__all__ = ["is_finite", "ranking_problem", "state_problem"]

Pair = tuple[str, str]

# of scores, in temperatures too, and of counts: beyond it the squares lose what matters
_LARGEST = 1e9
# a margin is the difference of two scores
_LARGEST_MARGIN = 2.001 * _LARGEST


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number."""
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError, ValueError):
        return False


def ranking_problem(ranking: Ranking) -> str | None:
    """Why a prior cannot learn from a ranking, in words.

    Args:
        ranking: As a ranker gave it.

    Returns:
        The problem with its remedy, or ``None``.
    """
    if not 1.0 / _LARGEST <= ranking.temperature <= _LARGEST:
        return f"the ranking's temperature is {ranking.temperature}; it must be finite and above 0"
    known = [score for score in ranking.scores if math.isfinite(score)]
    largest = max(map(abs, known), default=0.0)
    if not largest <= _LARGEST * min(1.0, ranking.temperature):
        return (
            f"scores of {ranking.ranker!r} reach {largest:g} at temperature {ranking.temperature:g}, too far to learn "
            f"from; scale them below {_LARGEST:g}, as a score and divided by the temperature"
        )
    return None


def state_problem(
    *,
    temperature: float,
    counts: Mapping[str, int],
    answers: Mapping[str, int],
    margins: Mapping[Pair, tuple[float, float, float]],
    judged: Mapping[Pair, tuple[float, float]],
    rated: Sequence[Verdict],
) -> str | None:
    """Why the saved state of a prior cannot be used, in words.

    Args:
        temperature: The ranker's.
        counts: Of prompts and the like, by name of the field.
        answers: Answers seen, by member.
        margins: By pair the weight, the weighted margin and the weighted squared margin.
        judged: By pair how often judged, and how often the first won.
        rated: Verdicts with margins.

    Returns:
        The first problem, or ``None``.
    """
    if not 1.0 / _LARGEST <= temperature <= _LARGEST:
        return f"temperature is {temperature}; it must be finite and above 0"
    for name, count in (*answers.items(), *counts.items()):
        if not 0 <= count <= _LARGEST:
            return f"the count of {name!r} is {count}"
    problems = (_margin_problems(answers, margins), _judged_problems(judged), _rated_problems(rated, temperature))
    return next((problem for found in problems for problem in found), None)


def _margin_problems(answers: Mapping[str, int], margins: Mapping[Pair, tuple[float, float, float]]) -> Iterator[str]:
    for pair, (weight, linear, square) in margins.items():
        if pair[0] == pair[1] or not answers.keys() >= set(pair):
            yield f"margins speak of {pair}, which are not two of the members in answers"
        sound = 0.0 < weight <= _LARGEST and 0.0 <= square <= weight * _LARGEST_MARGIN**2
        if not (sound and abs(linear) <= weight * _LARGEST_MARGIN):
            yield f"margins of {pair} are {weight}, {linear}, {square}"


def _judged_problems(judged: Mapping[Pair, tuple[float, float]]) -> Iterator[str]:
    for pair, (count, wins) in judged.items():
        if pair[0] == pair[1] or not 0.0 <= wins <= count <= _LARGEST:
            yield f"{pair} were judged {count} times with {wins} wins of the first"


def _rated_problems(rated: Sequence[Verdict], temperature: float) -> Iterator[str]:
    largest = _LARGEST_MARGIN * min(1.0, temperature)
    for verdict in rated:
        sound = verdict.margin is not None and abs(verdict.margin) <= largest
        if verdict.first == verdict.second or not (sound and 0.0 <= verdict.won <= 1.0 and 0.0 < verdict.weight <= 1.0):
            yield f"rated holds {tuple(verdict)}"

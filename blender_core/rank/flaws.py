"""Rank flawed answers last, under every ranker: cut off, in another language than asked, or stuck in a loop."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from blender_core.text.language import foreign_language
from blender_core.text.loops import loops
from blender_core.text.refusal import is_refusal
from blender_core.types.answer import Answer, ended_by_length
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking, direct_confidence

__all__ = ["Flaw", "find_flaws", "move_behind", "put_behind"]

# in logits: a sound answer is taken to be better with a probability of 0.95
_DISTANCE = 3.0
_READ = 4_000
_ASKS_TO_REPEAT = re.compile(
    r"\brepeat|\b\d+ times\b|wiederhol|\d+[ -]?mal\b|répét|repit|\d+ (?:fois|veces)", re.IGNORECASE
)


class Flaw(NamedTuple):
    """Holds what is wrong with an answer, whatever it says.

    Attributes:
        severity: 1 and more; the worse flaw has the higher number. 0 is a sound answer.
        reason: The flaw in words; empty for a sound answer.
    """

    severity: int
    reason: str


SOUND = Flaw(0, "")


def find_flaws(prompt: Prompt, answers: Sequence[Answer]) -> list[Flaw]:
    """Find the flaw of each answer, the worst if it has several.

    Answers with tool calls have none. If a program reads the answer, only a cut is one. A refusal may be in any
    language, so that it does not lose to an answer for that.

    Args:
        prompt: The prompt.
        answers: The answers to it.

    Returns:
        One flaw for each answer. Copies of one text share the least.
    """
    least: dict[str, Flaw] = {}
    for answer in answers:
        flaw = _flaw(prompt, answer)
        least[answer.text] = min(flaw, least.get(answer.text, flaw))
    return [least[answer.text] for answer in answers]


def move_behind(ranking: Ranking, severities: Sequence[int]) -> Ranking:
    """Move flawed candidates behind all others, and the worse of them behind the better.

    Within one severity the differences of the scores stay.

    Args:
        ranking: A ranking.
        severities: One number for each candidate; the higher, the further back.

    Returns:
        A new ranking whose comparisons and confidence fit its scores; the same one if nothing moves.
    """
    scores, comparisons = ranking.scores, ranking.comparisons
    ranked = [index for index, score in enumerate(scores) if math.isfinite(score)]
    distance = _DISTANCE * ranking.logit_scale
    moves = [0.0] * len(scores)
    for severity in sorted({severities[index] for index in ranked})[1:]:
        worse = [index for index in ranked if severities[index] == severity]
        better = [index for index in ranked if severities[index] < severity]
        shift = max(scores[last] - scores[first] - moves[first] + distance for last in worse for first in better)
        if comparisons is not None:
            # a matrix need not be antisymmetric
            logits = (
                logit - moves[first]
                for last in worse
                for first in better
                for logit in (comparisons[last][first], -comparisons[first][last])
            )
            shift = max([shift, *(logit + distance for logit in logits if math.isfinite(logit))])
        for index in worse:
            moves[index] = -max(shift, 0.0)
    if not any(moves):
        return ranking
    return _moved(ranking, moves)


def put_behind(ranking: Ranking, hidden: Collection[int]) -> Ranking:
    """Put candidates that the ranker was not shown behind all that it was, as equals.

    Args:
        ranking: A ranking in which they count as blank.
        hidden: Their indices.

    Returns:
        A new ranking with finite scores for them; the same one if there are none.
    """
    known = [score for score in ranking.scores if math.isfinite(score)]
    if not hidden or not known:
        return ranking
    last = min(known) - _DISTANCE * ranking.logit_scale
    scores = [last if index in hidden else score for index, score in enumerate(ranking.scores)]
    put = ranking.rescored(scores, comparisons=ranking.comparisons, confidence=ranking.confidence)
    # with one alone, the ranker said that nothing competes
    return put if len(known) > 1 else replace(put, confidence=direct_confidence(put, ranking.logit_scale))


def _moved(ranking: Ranking, moves: Sequence[float]) -> Ranking:
    comparisons = ranking.comparisons
    if comparisons is not None:
        comparisons = tuple(
            tuple(logit + moves[row] - moves[column] for column, logit in enumerate(logits))
            for row, logits in enumerate(comparisons)
        )
    moved = ranking.rescored(
        [score + move for score, move in zip(ranking.scores, moves, strict=True)], comparisons=comparisons
    )
    if moved.order[:2] == ranking.order[:2] and len({moves[index] for index in moved.order[:2]}) == 1:
        confidence = ranking.confidence
    else:
        confidence = direct_confidence(moved, ranking.logit_scale)
    return replace(moved, confidence=confidence)


def _flaw(prompt: Prompt, answer: Answer) -> Flaw:
    if answer.tool_calls:
        return SOUND
    if not prompt.structured:
        request = _request(prompt)
        if loops(answer.text) and not _ASKS_TO_REPEAT.search(request[:_READ]):
            return Flaw(3, "repeats itself")
        language = foreign_language(
            answer.text,
            request,
            earlier=[turn.content for turn in prompt.messages if turn.role != "system"],
            instructions=[turn.content for turn in prompt.messages if turn.role == "system"],
        )
        if language is not None and not is_refusal(answer.text):
            return Flaw(2, f"in {language}, unlike the question")
    return Flaw(1, "cut off") if ended_by_length(answer.finish_reason) else SOUND


def _request(prompt: Prompt) -> str:
    said = [turn.content for turn in prompt.messages if turn.role == "user"]
    return said[-1] if said else prompt.messages[-1].content

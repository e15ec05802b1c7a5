"""Hold what a member prior knows, as sums that add up; read and write it as JSON.

A change is a small ``PriorState`` that is added to a larger one. So several processes can add theirs to one file, in
any order. Scores and margins are logits: the ranker's divided by its temperature.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.rank.member_strength import RatedPair
from blender_core.runtime.numbers import in_words

__all__ = ["LARGEST", "PriorState", "RankerRecord", "RatedPrompt", "is_finite", "prompt_key"]

Pair = tuple[str, str]

LARGEST = 1e9
"""Limit of scores as logits, and of counts: squares of larger ones lose precision."""

# a margin is the difference of two scores
_LARGEST_MARGIN = 2.001 * LARGEST
_FORMAT = 3
_READ_FORMATS = (1, 2, 3)


def is_finite(value: Any) -> bool:
    """Check if a value is a finite number."""
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError, ValueError):
        return False


def prompt_key(prompt: str, members: Sequence[str]) -> str:
    """Name a rated prompt and the members that answered it, without keeping the text.

    Args:
        prompt: The prompt.
        members: Names of the members, in any order.

    Returns:
        32 hexadecimal digits.
    """
    text = "\0".join((prompt, *sorted(members)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class RatedPrompt:
    """Ratings of all answers to one prompt.

    Attributes:
        ranker: Name of the ranker that made the scores.
        members: Name of the member of each answer.
        scores: Score of each answer in logits.
        ratings: Rating of each answer; higher is better.
        gap: Ratings that differ by this much or less count as equal.
        weight: Weight of each pair of answers.
    """

    ranker: str
    members: tuple[str, ...]
    scores: tuple[float, ...]
    ratings: tuple[float, ...]
    gap: float
    weight: float

    def pairs(self, ranker: str) -> Iterator[RatedPair]:
        """Yield the pairs with different ratings; under another ranker their margins are unknown."""
        rows = list(zip(self.members, self.scores, self.ratings, strict=True))
        for place, (first, score, rating) in enumerate(rows):
            for second, other, below in rows[place + 1 :]:
                if first != second and abs(rating - below) > self.gap:
                    margin = score - other if ranker == self.ranker else None
                    yield RatedPair(first, second, margin, float(rating > below), self.weight)


@dataclass(slots=True)
class RankerRecord:
    """What the scores of one ranker showed.

    Attributes:
        prompts: Rankings seen.
        freedom: Degrees of freedom of the squared margins.
        answers: Answers seen, by member.
        margins: Weight, weighted margin and weighted squared margin, by pair of names in sorted order.
    """

    prompts: int = 0
    freedom: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    margins: dict[Pair, tuple[float, float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, known: Sequence[tuple[str, float]]) -> RankerRecord:
        """Make the record of one ranking.

        Args:
            known: Member and logit of each answer with a finite score.
        """
        record = cls(1, max(0, len(known) - 1))
        # with the weight 1/k, the sum over pairs is the sum over candidates of centred squares
        weight = 1.0 / max(1, len(known))
        for place, (first, one) in enumerate(known):
            record.answers[first] = record.answers.get(first, 0) + 1
            for second, other in known[place + 1 :]:
                if first != second:
                    pair, margin = ((first, second), one - other) if first < second else ((second, first), other - one)
                    record._put(pair, (weight, weight * margin, weight * margin * margin))
        return record

    def add(self, other: RankerRecord) -> None:
        """Add another record."""
        self.prompts += other.prompts
        self.freedom += other.freedom
        for name, count in other.answers.items():
            self.answers[name] = self.answers.get(name, 0) + count
        for pair, sums in other.margins.items():
            self._put(pair, sums)

    def _put(self, pair: Pair, sums: tuple[float, float, float]) -> None:
        held = self.margins.get(pair)
        if held is not None:
            sums = (held[0] + sums[0], held[1] + sums[1], held[2] + sums[2])
        self.margins[pair] = sums


@dataclass(slots=True)
class PriorState:
    """What a prior knows, or a change of it.

    Attributes:
        text_reliability: The setting of ``MemberPrior``; ``None`` if it was not set.
        ranker: Name of the ranker seen last; empty before the first.
        declared: Logit of each declared member; empty if none was declared.
        rankers: Record of each ranker, by name.
        judged: Number of ratings and wins of the first, by pair of names in sorted order.
        rated: Rated prompts by key; ``None`` takes one back.
    """

    text_reliability: float | None = None
    ranker: str = ""
    declared: dict[str, float] = field(default_factory=dict)
    rankers: dict[str, RankerRecord] = field(default_factory=dict)
    judged: dict[Pair, tuple[float, float]] = field(default_factory=dict)
    rated: dict[str, RatedPrompt | None] = field(default_factory=dict)

    def add(self, change: PriorState) -> None:
        """Add a change; its setting, declaration and rated prompts replace those of the same name."""
        if change.text_reliability is not None:
            self.text_reliability = change.text_reliability
        self.ranker = change.ranker or self.ranker
        if change.declared:
            self.declared = dict(change.declared)
        for name, record in change.rankers.items():
            self.rankers.setdefault(name, RankerRecord()).add(record)
        for pair, (count, wins) in change.judged.items():
            held = self.judged.get(pair, (0.0, 0.0))
            self.judged[pair] = (held[0] + count, held[1] + wins)
        self.rated.update(change.rated)

    def copy(self) -> PriorState:
        """Make an independent copy."""
        copied = PriorState()
        copied.add(self)
        return copied

    def rated_prompts(self) -> dict[str, RatedPrompt]:
        """Return the rated prompts that were not taken back, by key."""
        return {key: prompt for key, prompt in self.rated.items() if prompt is not None}

    def to_dict(self) -> dict[str, Any]:
        """Turn the state into plain JSON types; :meth:`from_dict` reads it back."""
        return {
            "format": _FORMAT,
            "text_reliability": self.text_reliability,
            "ranker": self.ranker,
            "declared": self.declared,
            "judged": [[*pair, *sums] for pair, sums in sorted(self.judged.items())],
            "rated": {
                key: {
                    "ranker": prompt.ranker,
                    "members": list(prompt.members),
                    "scores": list(prompt.scores),
                    "ratings": list(prompt.ratings),
                    "gap": prompt.gap,
                    "weight": prompt.weight,
                }
                for key, prompt in sorted(self.rated_prompts().items())
            },
            "rankers": {
                name: {
                    "prompts": record.prompts,
                    "freedom": record.freedom,
                    "answers": dict(sorted(record.answers.items())),
                    "margins": [[*pair, *sums] for pair, sums in sorted(record.margins.items())],
                }
                for name, record in sorted(self.rankers.items())
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PriorState:
        """Build from the result of :meth:`to_dict`, of this or an earlier format.

        Raises:
            ConfigurationError: A field is missing, of the wrong type or out of range; load an older copy.
        """
        try:
            if data["format"] not in _READ_FORMATS:
                raise ConfigurationError(
                    f"format {in_words(data['format'])} of a member prior is not known; "
                    f"this version reads {_READ_FORMATS}"
                )
            state = _read(data if data["format"] == _FORMAT else _of_one_ranker(data))
        except ConfigurationError:
            raise
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"this is no saved member prior ({type(error).__name__}: {str(error)[:200]})"
            ) from error
        problem = next(_problems(state), None)
        if problem is not None:
            raise ConfigurationError(
                f"this saved member prior is damaged: {problem}; load an older copy, or begin with MemberPrior()"
            )
        return state


def _read(data: Mapping[str, Any]) -> PriorState:
    reliability = data["text_reliability"]
    return PriorState(
        text_reliability=None if reliability is None else float(reliability),
        ranker=str(data["ranker"]),
        declared={str(name): float(logit) for name, logit in data["declared"].items()},
        rankers={
            str(name): RankerRecord(
                int(held["prompts"]),
                int(held["freedom"]),
                {str(member): int(count) for member, count in held["answers"].items()},
                {(str(a), str(b)): (float(w), float(m), float(s)) for a, b, w, m, s in held["margins"]},
            )
            for name, held in data["rankers"].items()
        },
        judged={(str(a), str(b)): (float(count), float(wins)) for a, b, count, wins in data["judged"]},
        rated={
            str(key): RatedPrompt(
                str(held["ranker"]),
                tuple(map(str, held["members"])),
                tuple(map(float, held["scores"])),
                tuple(map(float, held["ratings"])),
                float(held["gap"]),
                float(held["weight"]),
            )
            for key, held in data["rated"].items()
        },
    )


def _of_one_ranker(data: Mapping[str, Any]) -> dict[str, Any]:
    """Turn formats 1 and 2, which held scores of one ranker on its own scale, into format 3."""
    temperature = float(data["temperature"])
    if not 1.0 / LARGEST <= temperature <= LARGEST:
        raise ConfigurationError(f"the temperature of a saved member prior is {temperature}; it must be above 0")
    ranker = str(data["ranker"])
    record = {
        "prompts": data["prompts"],
        "freedom": data["freedom"],
        "answers": data["answers"],
        "margins": [[a, b, w, m / temperature, s / temperature**2] for a, b, w, m, s in data["margins"]],
    }
    rated = {
        # the same key in every process that reads this file
        f"pair {place} of format 2": {
            "ranker": ranker,
            "members": [first, second],
            "scores": [float(margin) / temperature, 0.0],
            "ratings": [won, 1.0 - won],
            "gap": 0.0,
            "weight": weight,
        }
        for place, (first, second, margin, won, weight) in enumerate(data.get("rated", ()))
    }
    return {
        "text_reliability": data["text_reliability"],
        "ranker": ranker,
        "declared": {},
        "judged": data["judged"],
        "rated": rated,
        "rankers": {ranker: record} if data["prompts"] else {},
    }


def _problems(state: PriorState) -> Iterator[str]:
    if state.text_reliability is not None and not 0.0 < state.text_reliability <= 1.0:
        yield f"text_reliability is {state.text_reliability}"
    for name, logit in state.declared.items():
        if not abs(logit) <= LARGEST:
            yield f"{name!r} was declared with {logit}"
    for record in state.rankers.values():
        yield from _record_problems(record)
    for pair, (count, wins) in state.judged.items():
        if pair[0] == pair[1] or not 0.0 <= wins <= count <= LARGEST:
            yield f"{pair} were judged {count} times with {wins} wins of the first"
    for key, prompt in state.rated.items():
        if prompt is not None and not _is_sound(prompt):
            yield f"the rated prompt {key!r} is {prompt}"


def _record_problems(record: RankerRecord) -> Iterator[str]:
    for name, count in (("prompts", record.prompts), ("freedom", record.freedom), *record.answers.items()):
        if not 0 <= count <= LARGEST:
            yield f"the count of {name!r} is {count}"
    for pair, (weight, linear, square) in record.margins.items():
        if pair[0] == pair[1] or not record.answers.keys() >= set(pair):
            yield f"margins speak of {pair}, which are not two of the members in answers"
        sound = 0.0 < weight <= LARGEST and 0.0 <= square <= weight * _LARGEST_MARGIN**2
        if not (sound and abs(linear) <= weight * _LARGEST_MARGIN):
            yield f"margins of {pair} are {weight}, {linear}, {square}"


def _is_sound(prompt: RatedPrompt) -> bool:
    same_length = len(prompt.members) == len(prompt.scores) == len(prompt.ratings)
    in_range = all(abs(score) <= _LARGEST_MARGIN for score in prompt.scores) and all(map(is_finite, prompt.ratings))
    return same_length and in_range and 0.0 <= prompt.gap < math.inf and 0.0 < prompt.weight <= 1.0

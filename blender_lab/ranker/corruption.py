"""Answers made worse on purpose: cheap negatives whose order is known.

They work on token ids, so that nothing is tokenised while training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "CORRUPTIONS",
    "OPPOSITES",
    "REFUSALS",
    "KnownTokens",
    "change_numbers",
    "contradict",
    "drop_end",
    "opposite_tokens",
    "repeat_part",
    "shuffle_parts",
]

_PAIRS = (
    ("above", "below"),
    ("agree", "disagree"),
    ("always", "never"),
    ("before", "after"),
    ("best", "worst"),
    ("better", "worse"),
    ("correct", "incorrect"),
    ("early", "late"),
    ("easy", "difficult"),
    ("everyone", "nobody"),
    ("everything", "nothing"),
    ("false", "true"),
    ("fast", "slow"),
    ("faster", "slower"),
    ("first", "last"),
    ("good", "bad"),
    ("greater", "smaller"),
    ("high", "low"),
    ("higher", "lower"),
    ("hot", "cold"),
    ("increase", "decrease"),
    ("increased", "decreased"),
    ("increases", "decreases"),
    ("increasing", "decreasing"),
    ("large", "small"),
    ("larger", "smaller"),
    ("legal", "illegal"),
    ("long", "short"),
    ("maximum", "minimum"),
    ("more", "less"),
    ("most", "least"),
    ("north", "south"),
    ("often", "rarely"),
    ("old", "young"),
    ("positive", "negative"),
    ("possible", "impossible"),
    ("right", "wrong"),
    ("safe", "dangerous"),
    ("same", "different"),
    ("strong", "weak"),
    ("with", "without"),
    ("yes", "no"),
)
_DENIED = (
    "are",
    "could",
    "did",
    "do",
    "does",
    "had",
    "has",
    "have",
    "is",
    "may",
    "might",
    "must",
    "should",
    "was",
    "were",
    "will",
    "would",
)


def _opposites() -> dict[str, tuple[str, ...]]:
    # no "can": vocabularies cut "can't" and "can not" behind it
    found: dict[str, tuple[str, ...]] = {"cannot": ("can",), "not": ()}
    for one, other in _PAIRS:
        # the first pair that names a word decides
        found.setdefault(one, (other,))
        found.setdefault(other, (one,))
    return found | {word: (word, "not") for word in _DENIED}


OPPOSITES: dict[str, tuple[str, ...]] = _opposites()
"""Lower-case English word -> the words that say the opposite; ``not`` -> none."""

# SentencePiece and byte-level vocabularies mark the start of a word
_MARKS = ("\u2581", "\u0120")


def opposite_tokens(vocabulary: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
    """The opposites that a vocabulary has whole tokens for.

    Args:
        vocabulary: Token -> id.

    Returns:
        Id of a token -> the ids that take its place. Capitals are kept. If the vocabulary marks starts of words,
        only tokens with the mark count, so that the end of ``this`` is no ``is``.

    Examples:
        >>> opposite_tokens({"is": 1, "not": 2, "yes": 3, "no": 4, "##is": 5})
        {1: (1, 2), 2: (), 3: (4,), 4: (3,)}
        >>> opposite_tokens({"\u0120Yes": 1, "\u0120No": 2, "Yes": 3})
        {1: (2,), 2: (1,)}
    """
    mark = next((mark for mark in _MARKS if f"{mark}not" in vocabulary or f"{mark}Yes" in vocabulary), "")
    found: dict[int, tuple[int, ...]] = {}
    for word, others in OPPOSITES.items():
        for form in (str.lower, str.capitalize):
            token = f"{mark}{form(word)}"
            # only the first word carries the capital
            wanted = [f"{mark}{form(other) if place == 0 else other}" for place, other in enumerate(others)]
            if token in vocabulary and all(one in vocabulary for one in wanted):
                found[vocabulary[token]] = tuple(vocabulary[one] for one in wanted)
    return dict(sorted(found.items()))


REFUSALS: tuple[str, ...] = (
    "I'm sorry, but I can't help with that.",
    "As an AI language model, I am not able to answer this question.",
    "I cannot assist with that request.",
    "Sorry, I don't know.",
    "I'm unable to provide an answer. Please ask an expert instead.",
)
"""Refusals written for this project; used only against prompts that deserve an answer."""


@dataclass(frozen=True, slots=True)
class KnownTokens:
    """What a corruption has to know of a vocabulary.

    Attributes:
        numbers: Ids of tokens that are numbers.
        opposites: Id of a token -> the ids that say the opposite: ``yes`` -> ``no``, ``is`` -> ``is not``, ``not`` ->
            nothing.
    """

    numbers: Sequence[int] = ()
    opposites: Mapping[int, Sequence[int]] = field(default_factory=dict)


Corruption = Callable[[Sequence[int], np.random.Generator, KnownTokens], list[int]]

_NOTHING = KnownTokens()
# words nearer than this may deny each other
_APART = 4


def contradict(answer: Sequence[int], rng: np.random.Generator, known: KnownTokens = _NOTHING) -> list[int]:
    """Turn 30% to 100% of the words that have an opposite, one at least.

    Of words close to each other only one is turned: ``is not impossible`` would say again what ``is possible``
    said. An answer without such a word loses its end instead.
    """
    opposites = known.opposites
    places = [place for place, token in enumerate(answer) if token in opposites and not _denied(answer, place, known)]
    if not places:
        return drop_end(answer, rng)
    count = max(1, round(len(places) * rng.uniform(0.3, 1.0)))
    turned: set[int] = set()
    for place in sorted(rng.permutation(places)[:count].tolist()):
        if not turned.intersection(range(place - _APART, place)):
            turned.add(place)
    return [new for place, token in enumerate(answer) for new in (opposites[token] if place in turned else (token,))]


def _denied(answer: Sequence[int], place: int, known: KnownTokens) -> bool:
    """``is`` before a ``not``: turning both, or it alone, would say ``is not not``."""
    grows = len(known.opposites[answer[place]]) > 1
    return grows and any(known.opposites.get(token) == () for token in answer[place + 1 : place + 2])


def drop_end(answer: Sequence[int], rng: np.random.Generator, known: KnownTokens = _NOTHING) -> list[int]:
    """Stop after 15% to 70% of the answer."""
    return list(answer[: max(1, int(len(answer) * rng.uniform(0.15, 0.7)))])


def repeat_part(answer: Sequence[int], rng: np.random.Generator, known: KnownTokens = _NOTHING) -> list[int]:
    """Say the beginning, then repeat one part until the length is reached again."""
    length = len(answer)
    size = max(1, min(length, int(rng.integers(8, 40))))
    start = int(rng.integers(0, max(1, length - size)))
    part = list(answer[start : start + size])
    repeated = list(answer[: start + size])
    while len(repeated) < length:
        repeated.extend(part)
    return [*repeated, *part][: max(length, start + 2 * size)]


def shuffle_parts(answer: Sequence[int], rng: np.random.Generator, known: KnownTokens = _NOTHING) -> list[int]:
    """Cut into runs of 6 to 20 tokens and put them into another order."""
    size = int(rng.integers(6, 20))
    parts = [list(answer[start : start + size]) for start in range(0, len(answer), size)]
    return [token for index in rng.permutation(len(parts)) for token in parts[index]]


def change_numbers(answer: Sequence[int], rng: np.random.Generator, known: KnownTokens = _NOTHING) -> list[int]:
    """Replace numbers by other numbers; an answer without numbers loses its end instead."""
    numbers = set(known.numbers)
    if not numbers.intersection(answer):
        return drop_end(answer, rng)
    choices = list(known.numbers)
    return [choices[int(rng.integers(len(choices)))] if token in numbers else token for token in answer]


CORRUPTIONS: dict[str, Corruption] = {
    "change_numbers": change_numbers,
    "contradict": contradict,
    "drop_end": drop_end,
    "repeat_part": repeat_part,
    "shuffle_parts": shuffle_parts,
}
"""Corruptions by name: ``(answer ids, rng, known tokens) -> ids``."""

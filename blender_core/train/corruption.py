"""Answers made worse on purpose: cheap negatives whose order is known.

They work on token ids, so that nothing is tokenised while training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["CORRUPTIONS", "REFUSALS", "change_numbers", "drop_end", "repeat_part", "shuffle_parts"]

REFUSALS: tuple[str, ...] = (
    "I'm sorry, but I can't help with that.",
    "As an AI language model, I am not able to answer this question.",
    "I cannot assist with that request.",
    "Sorry, I don't know.",
    "I'm unable to provide an answer. Please ask an expert instead.",
)
"""Refusals written for this project; used only against prompts that deserve an answer."""

Corruption = Callable[[Sequence[int], np.random.Generator, Sequence[int]], list[int]]


def drop_end(answer: Sequence[int], rng: np.random.Generator, digits: Sequence[int] = ()) -> list[int]:
    """Stop after 15% to 70% of the answer."""
    return list(answer[: max(1, int(len(answer) * rng.uniform(0.15, 0.7)))])


def repeat_part(answer: Sequence[int], rng: np.random.Generator, digits: Sequence[int] = ()) -> list[int]:
    """Say the beginning, then repeat one part until the length is reached again."""
    length = len(answer)
    size = max(1, min(length, int(rng.integers(8, 40))))
    start = int(rng.integers(0, max(1, length - size)))
    part = list(answer[start : start + size])
    repeated = list(answer[: start + size])
    while len(repeated) < length:
        repeated.extend(part)
    return [*repeated, *part][: max(length, start + 2 * size)]


def shuffle_parts(answer: Sequence[int], rng: np.random.Generator, digits: Sequence[int] = ()) -> list[int]:
    """Cut into runs of 6 to 20 tokens and put them into another order."""
    size = int(rng.integers(6, 20))
    parts = [list(answer[start : start + size]) for start in range(0, len(answer), size)]
    return [token for index in rng.permutation(len(parts)) for token in parts[index]]


def change_numbers(answer: Sequence[int], rng: np.random.Generator, digits: Sequence[int] = ()) -> list[int]:
    """Replace numbers by other numbers; an answer without numbers loses its end instead."""
    known = set(digits)
    if not known.intersection(answer):
        return drop_end(answer, rng)
    choices = list(digits)
    return [choices[int(rng.integers(len(choices)))] if token in known else token for token in answer]


CORRUPTIONS: dict[str, Corruption] = {
    "change_numbers": change_numbers,
    "drop_end": drop_end,
    "repeat_part": repeat_part,
    "shuffle_parts": shuffle_parts,
}
"""Corruptions by name: ``(answer ids, rng, ids of number tokens) -> ids``."""

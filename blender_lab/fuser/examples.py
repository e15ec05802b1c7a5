"""From a ranked record to what a fuser sees and what it should write."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from blender_core.text.distinct import distinct_candidates
from blender_lab.fuser.records import FusionRecord

__all__ = ["FusionExample", "FusionExamples", "cut_repetition", "top_candidates"]

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class FusionExample:
    """One input of a fuser with its target.

    Attributes:
        prompt: The prompt.
        candidates: The candidates, in the order in which the model sees them.
        target: The text to write.
    """

    prompt: str
    candidates: tuple[str, ...]
    target: str


def top_candidates(record: FusionRecord, order: Sequence[int], top_k: int) -> tuple[str, ...]:
    """The best candidates, best first, each text once, as a blend hands them to its fuser.

    Args:
        record: The record.
        order: Indices of its candidates, best first.
        top_k: Most candidates.

    Returns:
        The texts.

    Examples:
        >>> record = FusionRecord("1", "2 + 2?", ("5", "4 ", "4"), ("a", "b", "c"), "4")
        >>> top_candidates(record, (1, 2, 0), 2)
        ('4 ', '5')
    """
    ranked = [record.candidates[index] for index in order]
    positions = distinct_candidates(ranked).positions
    firsts = [positions.index(group) for group in sorted({place for place in positions if place is not None})]
    return tuple(ranked[index] for index in firsts[:top_k])


def cut_repetition(text: str, *, ngram: int = 10, times: int = 3) -> str:
    """Cut a text where it begins to loop.

    Args:
        text: The text.
        ngram: Length in words of the runs that count as repeated.
        times: A run may stand in the text less often than this.

    Returns:
        The text up to the last word before the run that stands there too often.

    Examples:
        >>> cut_repetition("so it goes " * 4, ngram=3, times=3)
        'so it goes so it goes'
    """
    words = list(_WORD.finditer(text))
    seen: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - ngram + 1):
        run = tuple(word.group().lower() for word in words[start : start + ngram])
        seen[run] = seen.get(run, 0) + 1
        if seen[run] >= times:
            return text[: words[start - 1].end()] if start else ""
    return text


class FusionExamples:
    """The examples of a set of records; number n is the same whenever it is asked for.

    Args:
        records: The records.
        orders: For each record the indices of its candidates, best first.
        top_k: Most candidates of an example.
        shuffle: Shuffle the chosen candidates.
        noise: Probability that the last chosen candidate is replaced by one of another record.
        cut_repeats: Cut looping texts.
        seed: Seed.
    """

    def __init__(
        self,
        records: Sequence[FusionRecord],
        orders: Sequence[Sequence[int]],
        *,
        top_k: int = 3,
        shuffle: bool = True,
        noise: float = 0.0,
        cut_repeats: bool = True,
        seed: int = 0,
    ) -> None:
        self._records = list(records)
        self._orders = list(orders)
        self._top_k = top_k
        self._shuffle = shuffle
        self._noise = noise
        self._cut = cut_repetition if cut_repeats else (lambda text: text)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> FusionExample:
        record = self._records[number]
        # by record, not by place: the example stays when files are added
        rng = random.Random(f"{self._seed}\n{record.id}\n{record.prompt}")
        chosen = list(top_candidates(record, self._orders[number], self._top_k))
        if len(self._records) > 1 and rng.random() < self._noise:
            other = (number + 1 + rng.randrange(len(self._records) - 1)) % len(self._records)
            stranger = rng.choice(self._records[other].candidates)
            chosen = [*chosen[:-1], stranger] if len(chosen) > 1 else [*chosen, stranger]
        if self._shuffle:
            rng.shuffle(chosen)
        texts = tuple(self._cut(text) or text for text in chosen)
        return FusionExample(record.prompt, texts, (self._cut(record.reference) or record.reference).strip())

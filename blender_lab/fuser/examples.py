"""What a fuser sees and what it should write: records, their ranked candidates, examples."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blender_core.errors import ConfigurationError
from blender_core.rank.protocol import Ranker
from blender_core.runtime.outside import read_json
from blender_core.text.distinct import distinct_candidates
from blender_lab.data.mixinstruct import MixRecord, read_mix
from blender_lab.data.preferences import is_development

__all__ = [
    "FusionExample",
    "FusionExamples",
    "FusionRecord",
    "Split",
    "cut_repetition",
    "fusion_record",
    "rank_records",
    "read_fusion_records",
    "split_of",
    "split_records",
    "top_candidates",
]

Split = Literal["train", "development", "test"]
"""Where a prompt belongs: learn from it, watch and tune on it, or report on it."""


@dataclass(frozen=True, slots=True)
class FusionRecord:
    """One prompt with its candidates and a reference.

    Attributes:
        id: Identifier within its file.
        prompt: The prompt.
        candidates: The answers, none blank.
        models: Name of the model behind each answer, ``""`` where it is not known.
        reference: The answer to learn, not blank.
    """

    id: str
    prompt: str
    candidates: tuple[str, ...]
    models: tuple[str, ...]
    reference: str


def fusion_record(record: MixRecord) -> FusionRecord | None:
    """What a fuser can learn from a record.

    Args:
        record: A record of MixInstruct (the reference is its ``output``), or of a file that names it ``reference``.

    Returns:
        The record without blank candidates; ``None`` where it has no reference or no candidate.

    Examples:
        >>> record = MixRecord.from_dict({"id": "1", "instruction": "2 + 2?", "output": "4",
        ...     "candidates": [{"model": "a", "text": "It is four."}, {"model": "b", "text": " "}]})
        >>> fusion_record(record).candidates
        ('It is four.',)
    """
    reference = record.output or record.extra.get("reference") or ""
    answered = [candidate for candidate in record.candidates if candidate.answered]
    if not isinstance(reference, str) or not reference.strip() or not answered:
        return None
    return FusionRecord(
        id=record.id,
        prompt=record.prompt,
        candidates=tuple(candidate.text for candidate in answered),
        models=tuple(candidate.model for candidate in answered),
        reference=reference,
    )


def read_fusion_records(path: str | os.PathLike[str]) -> Iterator[FusionRecord]:
    """Read what a fuser can learn from.

    Args:
        path: JSON lines, plain or gzip, in MixInstruct's schema or with ``reference`` in place of ``output``.

    Yields:
        The usable records in file order.

    Raises:
        ConfigurationError: There is no such file, a line cannot be read, or no record is usable.
    """
    usable = False
    for record in read_mix(path):
        found = fusion_record(record)
        if found is not None:
            usable = True
            yield found
    if not usable:
        raise ConfigurationError(
            f'{path} has no record with candidates and a reference; a fuser learns from "output" or "reference"'
        )


def split_of(prompt: str, *, development_share: float, test_share: float, seed: int = 0) -> Split:
    """Where a prompt belongs; equal prompts always fall on the same side.

    Args:
        prompt: The prompt.
        development_share: Share of prompts to watch and tune on, in [0, 1].
        test_share: Share of prompts to report on, in [0, 1].
        seed: Another seed splits otherwise.

    Returns:
        The split.

    Examples:
        >>> split_of("Hello", development_share=0.0, test_share=1.0)
        'test'
    """
    if is_development(prompt, test_share, seed):
        return "test"
    return "development" if is_development(prompt, test_share + development_share, seed) else "train"


def split_records(
    records: Iterable[FusionRecord], *, development_share: float, test_share: float, seed: int = 0
) -> dict[Split, list[FusionRecord]]:
    """Split records by a hash of their prompts.

    Args:
        records: The records.
        development_share: Share of prompts to watch and tune on.
        test_share: Share of prompts to report on.
        seed: Another seed splits otherwise.

    Returns:
        The records of each split, in order.
    """
    parts: dict[Split, list[FusionRecord]] = {"train": [], "development": [], "test": []}
    for record in records:
        side = split_of(record.prompt, development_share=development_share, test_share=test_share, seed=seed)
        parts[side].append(record)
    return parts


def rank_records(
    records: Iterable[FusionRecord],
    ranker: Ranker,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[int, ...]]:
    """Order the candidates of every record.

    Args:
        records: The records.
        ranker: The ranker.
        cache: JSON lines of orders that are known; new ones are appended one by one, so that a killed run loses the
            one in flight. ``None`` keeps nothing.
        progress: Called with the number of records done.

    Returns:
        For each record the indices of its candidates, best first.

    Raises:
        RankerError: A record cannot be ranked.
    """
    known = _read_orders(cache) if cache is not None else {}
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
    orders: list[tuple[int, ...]] = []
    for count, record in enumerate(records, 1):
        key = _key(record, ranker)
        if key not in known:
            known[key] = tuple(ranker.rank(record.prompt, record.candidates).order)
            if cache is not None:
                _append(cache, key, known[key])
        orders.append(known[key])
        if progress is not None:
            progress(count)
    return orders


def _key(record: FusionRecord, ranker: Ranker) -> str:
    digest = hashlib.sha256(json.dumps([ranker.name, record.prompt, record.candidates]).encode())
    return digest.hexdigest()[:32]


def _read_orders(cache: Path) -> dict[str, tuple[int, ...]]:
    if not cache.is_file():
        return {}
    known = {}
    for line in cache.read_text(encoding="utf-8").splitlines():
        try:
            entry = read_json(line)
            known[entry["key"]] = tuple(entry["order"])
        except (ValueError, KeyError, TypeError):
            # the line that was being written when the run was killed
            continue
    return known


def _append(cache: Path, key: str, order: tuple[int, ...]) -> None:
    with cache.open("a", encoding="utf-8") as file:
        # a broken last line must not swallow this one
        file.write(f"\n{json.dumps({'key': key, 'order': list(order)})}")


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
        times: A run may occur in the text less often than this.

    Returns:
        The text up to the last word before the run that occurs too often.

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
        cut_repeats: bool = True,
        seed: int = 0,
    ) -> None:
        self._records = list(records)
        self._orders = list(orders)
        self._top_k = top_k
        self._shuffle = shuffle
        self._cut = cut_repetition if cut_repeats else (lambda text: text)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> FusionExample:
        record = self._records[number]
        # by record, not by place: the example stays when files are added
        rng = random.Random(f"{self._seed}\n{record.id}\n{record.prompt}")
        chosen = list(top_candidates(record, self._orders[number], self._top_k))
        if self._shuffle:
            rng.shuffle(chosen)
        texts = tuple(self._cut(text) or text for text in chosen)
        return FusionExample(record.prompt, texts, (self._cut(record.reference) or record.reference).strip())

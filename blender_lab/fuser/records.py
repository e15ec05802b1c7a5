"""Fusion records: a prompt, its candidates, and the reference answer that a fuser learns to write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from blender_core.data.mixinstruct import MixRecord, read_mix
from blender_core.data.preferences import is_development
from blender_core.errors import ConfigurationError

__all__ = ["FusionRecord", "Split", "fusion_record", "read_fusion_records", "split_of", "split_records"]

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

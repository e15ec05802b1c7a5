"""Preference records: prompts with several answers and what is known about their order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_lab.data.json_lines import json_lines

__all__ = ["PreferenceRecord", "is_development", "read_records", "split_development"]

_LABELS = {"A": 1.0, "B": 0.0, "tie": 0.5}


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """One prompt, its candidates, and the judgements.

    Attributes:
        id: Identifier within its source.
        source: Name of the source.
        prompt: The prompt.
        candidates: The answers.
        models: Name of the model behind each answer, ``""`` if it is not known.
        scores: A score for each answer, comparable within this record only, or ``None``.
        comparisons: Triples ``(i, j, p)``: p in [0, 1] is the probability that i is better than j.
        subset: Name of the subset, ``""`` if there is none.
        teacher: Triples ``(i, j, logit)``: another ranker's logit that i is better than j.
    """

    id: str
    source: str
    prompt: str
    candidates: tuple[str, ...]
    models: tuple[str, ...]
    scores: tuple[float, ...] | None
    comparisons: tuple[tuple[int, int, float], ...]
    subset: str = ""
    teacher: tuple[tuple[int, int, float], ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PreferenceRecord:
        """Build a record from one decoded line.

        Args:
            data: ``{"id", "source", "instruction", "candidates": [{"model", "text", "score"?}],
                "comparisons": [[i, j, label]], "teacher"?: [[i, j, logit]]}``; a label is ``"A"``, ``"B"``,
                ``"tie"`` or a probability.

        Returns:
            The record.

        Raises:
            ConfigurationError: A field is missing or of the wrong kind, a label is unknown, or an index is out of
                range.

        Examples:
            >>> record = PreferenceRecord.from_dict({"id": "1", "source": "s", "instruction": "Hi",
            ...     "candidates": [{"text": "Hello"}, {"text": "No"}], "comparisons": [[1, 0, "B"]]})
            >>> record.comparisons, record.scores
            (((1, 0, 0.0),), None)
        """
        try:
            candidates = data["candidates"]
            scores = [candidate.get("score") for candidate in candidates]
            known = all(score is not None and math.isfinite(score) for score in scores)
            return cls(
                id=str(data["id"]),
                source=str(data["source"]),
                prompt=_text(data["instruction"], "instruction"),
                candidates=tuple(_text(candidate["text"], "text") for candidate in candidates),
                models=tuple(candidate.get("model") or "" for candidate in candidates),
                scores=tuple(float(score) for score in scores) if known and scores else None,
                comparisons=tuple(_comparison(item, len(candidates)) for item in data.get("comparisons") or ()),
                subset=str((data.get("meta") or {}).get("subset") or ""),
                teacher=tuple(_teacher(item, len(candidates)) for item in data.get("teacher") or ()),
            )
        except ConfigurationError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ConfigurationError(
                f"not a preference record ({type(error).__name__}: {error}): {str(data)[:200]}; "
                "see blender_lab.data.preferences for the fields"
            ) from error


def read_records(path: str | Path, *, sources: Iterable[str] | None = None) -> Iterator[PreferenceRecord]:
    """Read a file of preference records.

    Args:
        path: JSON lines in UTF-8, plain or gzip (name ends in ``.gz``).
        sources: Only records of these sources; ``None`` for all.

    Yields:
        The records in file order.

    Raises:
        ConfigurationError: The file does not exist or a line cannot be read; the message names it.
    """
    path = Path(path)
    wanted = None if sources is None else set(sources)
    for number, data in json_lines(path):
        if wanted is None or data.get("source") in wanted:
            try:
                record = PreferenceRecord.from_dict(data)
            except ConfigurationError as error:
                raise ConfigurationError(f"{path}, line {number}: {error}") from error
            yield record


def is_development(prompt: str, share: float, seed: int = 0) -> bool:
    """Whether a prompt is held out; equal prompts fall on the same side in every source.

    Args:
        prompt: The prompt.
        share: Share of prompts to hold out, in [0, 1].
        seed: Another seed holds out other prompts.

    Returns:
        True for the development side.
    """
    digest = hashlib.sha256(f"{seed}\n{' '.join(prompt.split())}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split_development(
    records: Iterable[PreferenceRecord], share: float, seed: int = 0
) -> tuple[list[PreferenceRecord], list[PreferenceRecord]]:
    """Split by prompt into training and development records.

    Args:
        records: The records.
        share: Share of prompts to hold out, in [0, 1].
        seed: Another seed holds out other prompts.

    Returns:
        Training records, development records.
    """
    train: list[PreferenceRecord] = []
    development: list[PreferenceRecord] = []
    for record in records:
        (development if is_development(record.prompt, share, seed) else train).append(record)
    return train, development


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{field} is {value!r}; give a text")
    return value


def _comparison(item: Sequence[Any], count: int) -> tuple[int, int, float]:
    first, second, label = _triple(item, "comparison", count)
    probability = _LABELS.get(label) if isinstance(label, str) else float(label)
    if probability is None or not 0.0 <= probability <= 1.0:
        raise ConfigurationError(f'label {label!r} is not "A", "B", "tie" or a probability')
    return first, second, probability


def _teacher(item: Sequence[Any], count: int) -> tuple[int, int, float]:
    first, second, logit = _triple(item, "teacher", count)
    if not math.isfinite(logit):
        raise ConfigurationError(f"teacher {item!r} has no finite logit")
    return first, second, float(logit)


def _triple(item: Sequence[Any], field: str, count: int) -> tuple[int, int, Any]:
    if not isinstance(item, (list, tuple)) or len(item) != 3:
        raise ConfigurationError(f"{field} {item!r}; give two candidates and what is known of them")
    # a table of numbers has 0.0 for 0
    if not all(place in range(count) for place in item[:2]):
        raise ConfigurationError(f"{field} {item!r} names a candidate outside 0..{count - 1}")
    return int(item[0]), int(item[1]), item[2]

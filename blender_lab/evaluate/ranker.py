"""Measuring a ranker on the public evaluation sets."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_core.data.preferences import PreferenceRecord, read_records
from blender_core.errors import ConfigurationError
from blender_core.rank.protocol import Ranker
from blender_lab.evaluate.blend_sets import BlendNumbers, evaluate_blend
from blender_lab.evaluate.pair_sets import PairNumbers, evaluate_pairs

__all__ = ["BLEND_SETS", "PAIR_SETS", "RankerNumbers", "evaluate_ranker"]

PAIR_SETS: tuple[str, ...] = (
    "autoj",
    "hhh",
    "mtbench_human200",
    "llmbar",
    "humanevalpack",
    "hh_harmless",
    "judgebench",
    "pandalm",
    "faireval",
    "llmeval2",
    "evalbiasbench",
)
"""Pair sets, by file name below ``eval/``."""

BLEND_SETS: dict[str, str | None] = {
    "blend_open11": None,
    "blend_arena_bench": None,
    "blend_alpacaeval": "alpacaeval_bon_tulu2dpo13b",
    "blend_mmlu_pro": None,
    "blend_zeroeval": None,
}
"""Blend sets, by file name below ``eval/``; where one is named, only records of that source count."""


@dataclass(frozen=True, slots=True)
class RankerNumbers:
    """All numbers of one ranker.

    Attributes:
        ranker: Its name.
        pairs: Pair sets that were found.
        blends: Blend sets that were found.
    """

    ranker: str
    pairs: tuple[PairNumbers, ...]
    blends: tuple[BlendNumbers, ...]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain types."""
        return dataclasses.asdict(self)


def evaluate_ranker(
    ranker: Ranker,
    data: str | Path,
    *,
    sets: Sequence[str] | None = None,
    limit: int | None = None,
    progress: Callable[[str], None] | None = None,
    embedding_consensus: Callable[[], Ranker | None] | None = None,
) -> RankerNumbers:
    """Measure a ranker.

    Args:
        ranker: The ranker.
        data: The data folder, with the sets below ``eval/``.
        sets: Names of the sets; ``None`` for all that are there.
        limit: Only the first records of each set, for a quick look; ``None`` for all.
        progress: Called with each set's name before it is measured.
        embedding_consensus: Makes the ranker of agreement in meaning, a baseline (``benchmark_rankers`` has one);
            called before the first blend set, if there is any. ``None``, or a function that returns it, leaves it out.

    Returns:
        The numbers.

    Raises:
        ConfigurationError: There is no ``eval`` folder, a named set is unknown, none was found, or ``limit`` is
            below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"limit is {limit}; it must be at least 1")
    folder = Path(data) / "eval"
    if not folder.is_dir():
        raise ConfigurationError(f"no evaluation sets in {folder}; give another --data DIR or BLENDER_DATA")
    known = (*PAIR_SETS, *BLEND_SETS)
    unknown = sorted(set(sets or ()) - set(known))
    if unknown:
        raise ConfigurationError(f"unknown evaluation sets {unknown}; known are {list(known)}")
    wanted = [name for name in known if (sets is None or name in sets) and _file(folder, name).is_file()]
    if not wanted:
        raise ConfigurationError(f"none of the evaluation sets {list(sets or known)} is in {folder}")
    agreement = embedding_consensus() if embedding_consensus and not set(wanted).isdisjoint(BLEND_SETS) else None
    pairs: list[PairNumbers] = []
    blends: list[BlendNumbers] = []
    for name in wanted:
        if progress is not None:
            progress(name)
        records = itertools.islice(_records(folder, name), limit)
        if name in PAIR_SETS:
            pairs.append(evaluate_pairs(name, records, ranker))
        else:
            blends.append(evaluate_blend(name, records, ranker, embedding_consensus=agreement))
    return RankerNumbers(ranker.name, tuple(pairs), tuple(blends))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl.gz"


def _records(folder: Path, name: str) -> Iterator[PreferenceRecord]:
    source = BLEND_SETS.get(name)
    return read_records(_file(folder, name), sources=None if source is None else [source])

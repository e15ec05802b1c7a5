"""The ranker's order of every record's candidates, kept in a file: ranking costs more than reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from blender_core.rank.protocol import Ranker
from blender_lab.fuser.records import FusionRecord

__all__ = ["rank_records"]


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
    known = _read(cache) if cache is not None else {}
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


def _read(cache: Path) -> dict[str, tuple[int, ...]]:
    if not cache.is_file():
        return {}
    known = {}
    for line in cache.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            known[entry["key"]] = tuple(entry["order"])
        except (ValueError, KeyError, TypeError):
            # the line that was being written when the run was killed
            continue
    return known


def _append(cache: Path, key: str, order: tuple[int, ...]) -> None:
    with cache.open("a", encoding="utf-8") as file:
        # a broken last line must not swallow this one
        file.write(f"\n{json.dumps({'key': key, 'order': list(order)})}")

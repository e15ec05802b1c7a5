"""Check what members, rankers and fusers return, once, where it enters.

A later stage does not raise and writes JSON, so nothing gets past here that cannot be added up, compared or written.
Numbers of other packages, such as numpy's, become plain ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from enum import Enum
from numbers import Integral, Real
from typing import Any, cast

from blender_core.errors import RankerError
from blender_core.types.answer import ToolCall, Usage
from blender_core.types.ranking import Ranking

__all__ = [
    "checked_cost",
    "checked_cut",
    "checked_ranking",
    "checked_reason",
    "checked_text",
    "checked_usage",
    "is_plain",
    "plain_json",
]

# a fixed limit, because the stack that is left differs between callers
_DEEPEST = 100
# more is a mistake, and could not be added up
_MOST = 10**15
# json writes no longer numbers
_LONGEST_BITS = 10_000


def plain_json(value: Any) -> Any:
    """Convert a value to JSON types.

    Args:
        value: Mappings with text as keys, sequences, text, finite numbers, booleans and ``None``.

    Returns:
        The same as dictionaries, lists and Python's own types.

    Raises:
        ValueError: Something in it is no JSON, or is nested deeper than 100 levels; the message names the place.

    Examples:
        >>> plain_json({"a": (1, 2.5)})
        {'a': [1, 2.5]}
        >>> plain_json({"a": [float("nan")]})
        Traceback (most recent call last):
        ...
        ValueError: nan at a[0] is no JSON
    """
    return _plain(value, "", 0)


def _plain(value: Any, place: str, level: int) -> Any:
    if level > _DEEPEST:
        raise ValueError(f"they are nested deeper than {_DEEPEST} levels")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            raise ValueError(f"the key {odd!r}{_at(place)} is no JSON, which has text as keys")
        return {str(key): _plain(item, f"{place}.{key}".lstrip("."), level + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(item, f"{place}[{index}]", level + 1) for index, item in enumerate(value)]
    if isinstance(value, Integral) and int(value).bit_length() <= _LONGEST_BITS:
        return int(value)
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{str(value)[:80] if isinstance(value, Real) else type(value).__name__}{_at(place)} is no JSON")


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def checked_usage(usage: object) -> Usage | None:
    """Check the tokens of a call.

    Args:
        usage: What a member or a fuser gave.

    Returns:
        It with plain whole numbers; ``None`` if it is ``None``.

    Raises:
        ValueError: It is no ``Usage``, or a count is no whole number from 0 to 10^15.
    """
    if usage is None:
        return None
    if not isinstance(usage, Usage):
        raise ValueError(f"usage is {_shown(usage)}; give a Usage with numbers, or None")
    return Usage(
        _count(usage.input_tokens, "input_tokens"),
        _count(usage.output_tokens, "output_tokens"),
        _details(usage.input_details, "input_details"),
        _details(usage.output_details, "output_details"),
        bool(usage.estimated),
    )


def _details(details: Any, name: str) -> tuple[tuple[str, int], ...]:
    try:
        counts = dict(details)
    except (TypeError, ValueError):
        counts = {None: None}
    if not all(isinstance(part, str) for part in counts):
        raise ValueError(f"{name} is {_shown(details)}; give pairs of a name and its tokens, () for none")
    return tuple(sorted((str(part), _count(count, f"{name}: {part}")) for part, count in counts.items()))


def _count(value: Any, name: str) -> int:
    whole = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    if isinstance(value, bool) or not whole or not 0 <= value <= _MOST:
        raise ValueError(f"{name} is {_shown(value)}; give a whole number from 0 to {_MOST:.0e}")
    return int(cast(float, value))


def checked_cost(cost: object) -> float | None:
    """Check the cost of a call.

    Args:
        cost: What a member or a fuser gave.

    Returns:
        It as a plain number; ``None`` if it is ``None``.

    Raises:
        ValueError: It is no number from 0 to 10^15.
    """
    if cost is None:
        return None
    if isinstance(cost, bool) or not isinstance(cost, Real) or not 0 <= float(cost) <= _MOST:
        raise ValueError(f"cost is {_shown(cost)}; give a number from 0 to {_MOST:.0e}, or None")
    return float(cost)


def checked_text(name: str, text: object) -> str | None:
    """Check a text that may be missing.

    Args:
        name: What it is, for the message.
        text: What a member or a fuser gave.

    Returns:
        It as a plain text, or ``None``.

    Raises:
        ValueError: It is neither text nor ``None``.
    """
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} is {_shown(text)}; give a text, or None")
    return None if text is None else str(text)


def checked_reason(reason: object) -> str | None:
    """Check a finish reason: a text, a member of an enumeration, or ``None``.

    Raises:
        ValueError: It is something else.

    Examples:
        >>> checked_reason("stop")
        'stop'
    """
    if isinstance(reason, Enum) and not isinstance(reason, str):
        return reason.name
    return checked_text("finish_reason", reason)


def checked_cut(cut: object, candidates: int) -> dict[int, int]:
    """Check the tokens that did not fit a window.

    Args:
        cut: Candidate index -> tokens; -1 is the prompt.
        candidates: Number of candidates.

    Returns:
        It with plain numbers.

    Raises:
        ValueError: It is no mapping, names a candidate that is not there, or a count is no whole number.
    """
    if not isinstance(cut, Mapping):
        raise ValueError(f"cut is {_shown(cut)}; give a dictionary of candidate index and tokens")
    if not all(_is_index(index, candidates, least=-1) for index in cut):
        raise ValueError(f"cut names candidates {list(cut)!r} of {candidates}")
    return {int(index): _count(tokens, f"cut of candidate {index}") for index, tokens in cut.items()}


def checked_ranking(ranking: object, candidates: int) -> Ranking:
    """Check a ranking.

    Args:
        ranking: What a ranker or a member prior returned.
        candidates: Number of candidates.

    Returns:
        The ranking; a copy only if it holds numbers of other packages.

    Raises:
        RankerError: It is no ranking of that many candidates; the message names the part that is wrong.
    """
    if not isinstance(ranking, Ranking):
        raise RankerError(f"it returned {type(ranking).__name__}; return a Ranking")
    try:
        parts = _parts(ranking, candidates)
    except (TypeError, ValueError, OverflowError) as error:
        raise RankerError(str(error)) from error
    foreign = {name: value for name, value in parts.items() if not is_plain(getattr(ranking, name))}
    return replace(ranking, **foreign) if foreign else ranking


def _parts(ranking: Ranking, candidates: int) -> dict[str, Any]:
    if len(ranking.scores) != candidates:
        raise ValueError(f"{len(ranking.scores)} scores for {candidates} candidates")
    order = _indices("order", ranking.order, candidates)
    if sorted(order) != list(range(candidates)):
        raise ValueError(f"order is {order}; give each of {candidates} candidates once")
    scores = _numbers("scores", ranking.scores, candidates)
    if any(map(math.isnan, scores)):
        raise ValueError(f"scores are {list(scores)}; give -inf for a candidate without a score")
    comparisons = ranking.comparisons
    if comparisons is not None:
        if len(comparisons) != candidates:
            raise ValueError(f"comparisons have {len(comparisons)} rows for {candidates} candidates")
        comparisons = tuple(_numbers("a row of comparisons", row, candidates) for row in comparisons)
    if not isinstance(ranking.evidence, Mapping):
        raise ValueError(f"evidence is {_shown(ranking.evidence)}; give a dictionary of name and log-odds")
    return {
        "order": order,
        "scores": scores,
        "ranker": checked_text("ranker", ranking.ranker) or "",
        "confidence": _between("confidence", ranking.confidence, 1.0),
        "comparisons": comparisons,
        "ties": tuple(_indices("a group of ties", group, candidates) for group in ranking.ties),
        "cut": checked_cut(ranking.cut, candidates),
        "temperature": _between("temperature", ranking.temperature, math.inf),
        "evidence": {
            str(name): _numbers(f"evidence of {name}", values, candidates) for name, values in ranking.evidence.items()
        },
        "reasons": _texts("reasons", ranking.reasons),
        "problems": _texts("problems", ranking.problems),
    }


def _is_index(value: Any, candidates: int, *, least: int = 0) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) < candidates


def _indices(name: str, values: Any, candidates: int) -> tuple[int, ...]:
    if not all(_is_index(value, candidates) for value in values):
        raise ValueError(f"{name} is {_shown(values)}; give indices of {candidates} candidates")
    return tuple(map(int, values))


def _numbers(name: str, values: Any, count: int) -> tuple[float, ...]:
    if len(values) != count or not all(isinstance(value, Real) for value in values):
        raise ValueError(f"{name} is {_shown(values)}; give {count} numbers")
    return tuple(map(float, values))


def _between(name: str, value: Any, most: float) -> float:
    if not isinstance(value, Real) or not 0.0 <= float(value) <= most:
        raise ValueError(f"{name} is {_shown(value)}; give a number from 0 to {most:g}")
    return float(value)


def _texts(name: str, values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} is {_shown(values)}; give a tuple of texts")
    return tuple(map(str, values))


def is_plain(value: Any) -> bool:
    """Tell whether a value, and all in it, are of Python's own types."""
    if isinstance(value, Usage | ToolCall):
        return all(is_plain(getattr(value, part.name)) for part in fields(value))
    if type(value) in (tuple, list):
        return all(map(is_plain, value))
    if isinstance(value, Mapping):
        return all(map(is_plain, value.keys())) and all(map(is_plain, value.values()))
    return value is None or type(value) in (bool, int, float, str)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

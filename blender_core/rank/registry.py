"""Rankers by name."""

from __future__ import annotations

import functools
from collections.abc import Callable

from blender_core.errors import ConfigurationError
from blender_core.rank.protocol import Ranker

__all__ = ["RANKER_NAMES", "resolve_ranker"]


def _embedded() -> Ranker:
    from blender_core.rank.embedded import EmbeddedRanker

    return EmbeddedRanker.load()


def _consensus() -> Ranker:
    from blender_core.rank.lexical_consensus import LexicalConsensusRanker

    return LexicalConsensusRanker()


def _longest() -> Ranker:
    from blender_core.rank.length import LongestRanker

    return LongestRanker()


_MAKERS: dict[str, Callable[[], Ranker]] = {
    "consensus": _consensus,
    "embedded": _embedded,
    "longest": _longest,
}

RANKER_NAMES: tuple[str, ...] = tuple(sorted(_MAKERS))


def resolve_ranker(ranker: Ranker | str) -> Ranker:
    """Find a ranker by name, or hand a ranker through.

    A name is loaded once in a process and shared: rankers hold no state of a call.

    Args:
        ranker: A ranker, ``"embedded"`` (the shipped cross-encoder), ``"consensus"`` (agreement in words),
            ``"longest"`` (a baseline), or the path or hub name of a PairRanker checkpoint such as
            ``"llm-blender/PairRM"``.

    Returns:
        The ranker.

    Raises:
        ConfigurationError: Neither a ranker nor a known name.

    Example:
        >>> resolve_ranker("consensus").rank("Capital of France?", ["Paris", "Paris!", "Rome"]).best in (0, 1)
        True
    """
    if isinstance(ranker, str):
        return _named(ranker)
    if isinstance(ranker, Ranker):
        return ranker
    raise ConfigurationError(
        f"ranker is {type(ranker).__name__}; use one of {', '.join(RANKER_NAMES)}, a checkpoint's path or hub "
        "name, or an object with a name and rank(prompt, candidates)"
    )


@functools.lru_cache(maxsize=8)
def _named(name: str) -> Ranker:
    if name in _MAKERS:
        return _MAKERS[name]()
    if "/" in name:
        from blender_core.rank.pair_ranker import PairRanker

        return PairRanker.from_pretrained(name)
    raise ConfigurationError(
        f"no ranker is called {name!r}; use one of {', '.join(RANKER_NAMES)}, or a checkpoint's path or hub name"
    )

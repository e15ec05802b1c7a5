"""Find blank and duplicate candidates, in the same way for every ranker."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blender_core.errors import ConfigurationError
from blender_core.runtime.threads import stop_if_given_up
from blender_core.text.unicode import in_parts, normalize

__all__ = ["DistinctCandidates", "distinct_candidates"]


@dataclass(frozen=True, slots=True)
class DistinctCandidates:
    """Holds the distinct candidates, and maps their scores to all candidates.

    Attributes:
        texts: Distinct non-blank candidates, in input order.
        positions: For each input candidate the index into ``texts``, or ``None`` for a blank.
    """

    texts: tuple[str, ...]
    positions: tuple[int | None, ...]

    def spread_scores(self, scores: Sequence[float]) -> list[float]:
        """Spread scores over all input candidates: copies share a score, blanks get ``-inf``."""
        return [-math.inf if position is None else float(scores[position]) for position in self.positions]

    def spread_matrix(self, matrix: Sequence[Sequence[float]]) -> list[list[float]]:
        """Spread a comparison matrix over all input candidates.

        Copies of one text have logit 0.0 against each other; a blank has ``nan`` everywhere.
        """
        return [
            [math.nan if i is None or j is None else 0.0 if i == j else float(matrix[i][j]) for j in self.positions]
            for i in self.positions
        ]

    def spread_cut(self, cut: dict[int, int]) -> dict[int, int]:
        """Spread cut tokens over all input candidates; key -1 (the prompt) is kept."""
        spread = {index: cut[p] for index, p in enumerate(self.positions) if p is not None and p in cut}
        return {-1: cut[-1], **spread} if -1 in cut else spread


def distinct_candidates(
    candidates: Sequence[str], *, normalise: Callable[[str], str] | None = None
) -> DistinctCandidates:
    """Merge duplicates and drop blanks.

    Args:
        candidates: At least one text.
        normalise: Texts with equal normal forms are duplicates. Default: Unicode NFC with runs of white
            space folded to one space and the ends stripped.

    Returns:
        The distinct candidates.

    Raises:
        ConfigurationError: ``candidates`` is empty, or one is not a string.

    Examples:
        >>> distinct_candidates(["Paris", " ", "Paris ", "Rome"]).positions
        (0, None, 0, 1)
    """
    if isinstance(candidates, str) or not candidates:
        raise ConfigurationError(
            f"candidates must be a list of at least one string, got {candidates!r}; pass every member's answer"
        )
    normalise = normalise or _fold
    seen: dict[str, int] = {}
    texts: list[str] = []
    positions: list[int | None] = []
    for index, text in enumerate(candidates):
        if not isinstance(text, str):
            raise ConfigurationError(
                f"candidate {index} is {type(text).__name__}, not str; pass the text of each answer"
            )
        key = normalise(text)
        if not key:
            positions.append(None)
            continue
        if key not in seen:
            seen[key] = len(texts)
            texts.append(text)
        positions.append(seen[key])
    return DistinctCandidates(tuple(texts), tuple(positions))


def _fold(text: str) -> str:
    words: list[str] = []
    for part in in_parts(text):
        stop_if_given_up()
        words.append(" ".join(normalize("NFC", part).split()))
    return " ".join(filter(None, words))

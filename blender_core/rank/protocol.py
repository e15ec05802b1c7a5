"""Define the protocol of rankers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from blender_core.types.ranking import Ranking

__all__ = ["Ranker"]


@runtime_checkable
class Ranker(Protocol):
    """Orders the candidate answers to one prompt.

    A ranker is a plain synchronous object that may be called from several threads at once. The engine calls
    it in a thread, within the deadline. Any object with a ``name`` and this method is a ranker.

    Examples:
        >>> class Shortest:
        ...     name = "shortest"
        ...     def rank(self, prompt, candidates):
        ...         return Ranking.from_scores([-len(c) for c in candidates], ranker=self.name)
        >>> isinstance(Shortest(), Ranker)
        True
        >>> Shortest().rank("Hi", ["Good day to you", "Hello"]).best
        1
    """

    @property
    def name(self) -> str:
        """Short name, shown in results."""

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank the candidates.

        Args:
            prompt: The prompt; a conversation is flattened to ``User:`` and ``Assistant:`` blocks.
            candidates: At least one answer. Blank and duplicate answers are allowed: blanks come last,
                duplicates share a score.

        Returns:
            The ranking, indices as in ``candidates``; a higher score is better.

        Raises:
            RankerError: No ranking could be made.
        """

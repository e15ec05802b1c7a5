"""Define the protocol of rankers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking

__all__ = ["Ranker", "prompt_for"]


@runtime_checkable
class Ranker(Protocol):
    """Orders the candidate answers to one prompt.

    A ranker is a plain synchronous object that may be called from several threads at once. The engine calls
    it in a thread, within the deadline. Any object with a ``name`` and this method is a ranker. One with the attribute
    ``reads_conversations = True`` gets the `Prompt` with its turns in place of a text. One with ``spends = True`` pays
    for each answer: a flawed answer, which ranks last anyway, is blank to it.

    As many rankings compute at once as the process has cores, at least 2 and at most 8; the others wait. A ranker that
    only waits for a server should have the attribute ``computes_locally = False``: it needs no such turn.

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


def prompt_for(ranker: Ranker, prompt: str | Prompt) -> Any:
    r"""Give a prompt the form that a ranker reads.

    Args:
        ranker: The ranker.
        prompt: A text or a conversation.

    Returns:
        The conversation, if the ranker has ``reads_conversations``; else one text.

    Examples:
        >>> class Shortest:
        ...     name = "shortest"
        >>> prompt_for(Shortest(), Prompt.of([("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]))
        'User: Hi\nAssistant: Hello\nUser: Bye'
    """
    if isinstance(prompt, str) or getattr(ranker, "reads_conversations", False):
        return prompt
    return prompt.text

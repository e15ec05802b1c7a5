"""Hold answers with their sources, and unite the sources of several answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blender_core.rag.citations import rewrite_citations

__all__ = ["GroundedCandidate", "LinkedSource", "Source", "SourceUnion", "unite_sources"]


@dataclass(frozen=True, slots=True)
class Source:
    """Holds one retrieved passage.

    Attributes:
        text: The passage.
        id: The framework's id; may be empty.
        metadata: The framework's metadata, such as a file name.
        score: The retriever's score, on its own scale; ``None`` if it gives none.
        native: The framework's own document; never read or changed here.
    """

    text: str
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    native: Any = field(default=None, repr=False, compare=False)

    def same_as(self, other: Source) -> bool:
        """Tell whether both are one passage: equal ids, or equal texts with equal metadata.

        Examples:
            >>> Source("a", id="1").same_as(Source("a", id="2")), Source("a", id="1").same_as(Source("b", id="1"))
            (True, True)
        """
        if self.id and self.id == other.id:
            return True
        try:
            return self.text == other.text and bool(dict(self.metadata) == dict(other.metadata))
        except Exception:
            # values such as arrays do not compare
            return False


@dataclass(frozen=True, slots=True)
class GroundedCandidate:
    """Holds one engine's answer and its passages.

    Attributes:
        answer: The answer's text. ``[1]`` in it cites ``sources[0]``.
        sources: The retrieved passages, in the order of their citation numbers.
        native: The framework's own response.
    """

    answer: str
    sources: tuple[Source, ...] = ()
    native: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LinkedSource:
    """Links a source of the result to the members that used it.

    Attributes:
        source: The passage, from the best candidate that has it.
        number: Its number in citations, from 1.
        used_by: Names of the members that retrieved it, best first.
        cited_by: Names of the members whose answer cites it by number, best first.
    """

    source: Source
    number: int
    used_by: tuple[str, ...]
    cited_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceUnion:
    """Holds the sources of several candidates, each once.

    Attributes:
        sources: The sources; the best candidate's come first, in its own order.
        numbers: For each candidate: number in its own answer -> number in the union, both from 1.
    """

    sources: tuple[LinkedSource, ...]
    numbers: tuple[Mapping[int, int], ...]


def unite_sources(candidates: Sequence[tuple[str, GroundedCandidate]]) -> SourceUnion:
    """Unite the sources of several candidates.

    Args:
        candidates: Name and candidate, best first.

    Returns:
        The union.

    Examples:
        >>> left = GroundedCandidate("Blue [1].", (Source("The sky is blue.", id="a"),))
        >>> right = GroundedCandidate("Blue [2].", (Source("Grass.", id="b"), Source("The sky is blue.", id="a")))
        >>> union = unite_sources([("left", left), ("right", right)])
        >>> [(linked.source.id, linked.used_by, linked.cited_by) for linked in union.sources]
        [('a', ('left', 'right'), ('left', 'right')), ('b', ('right',), ())]
        >>> union.numbers
        ({1: 1}, {1: 2, 2: 1})
    """
    found: list[Source] = []
    used: list[dict[str, None]] = []
    cited: list[dict[str, None]] = []
    numbers: list[dict[int, int]] = []
    for name, candidate in candidates:
        own: dict[int, int] = {}
        for place, source in enumerate(candidate.sources, start=1):
            position = next((index for index, known in enumerate(found) if known.same_as(source)), len(found))
            if position == len(found):
                found.append(source)
                used.append({})
                cited.append({})
            used[position][name] = None
            own[place] = position + 1
        for number in rewrite_citations(candidate.answer, own).cited:
            cited[number - 1][name] = None
        numbers.append(own)
    linked = tuple(
        LinkedSource(source, place + 1, tuple(used[place]), tuple(cited[place])) for place, source in enumerate(found)
    )
    return SourceUnion(linked, tuple(numbers))

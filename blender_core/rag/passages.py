"""The passages a ranker should see: short, and those that fit the question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from blender_core.rag.groundedness import sentences
from blender_core.rag.sources import Source

__all__ = ["relevant_passages"]

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")


def relevant_passages(question: str, sources: Sequence[Sequence[Source]], *, max_characters: int) -> str:
    """The sentences of all sources that share most with the question, in the order in which they stand.

    Shared words count by their rarity among the sentences.

    Args:
        question: The question.
        sources: The sources of each candidate.
        max_characters: Most characters to return.

    Returns:
        The sentences, one a line; empty where there is no room or nothing to show.

    Examples:
        >>> sources = [[Source("It listens on port 8080. It is written in C.")], [Source("It is written in C.")]]
        >>> relevant_passages("Which port does it listen on?", sources, max_characters=30)
        'It listens on port 8080.'
    """
    parts = list(dict.fromkeys(part for group in sources for source in group for part in sentences(source.text)))
    words = [set(_WORD.findall(part.lower())) for part in parts]
    seen = Counter(word for bag in words for word in bag)
    asked = set(_WORD.findall(question.lower()))
    worth = [math.fsum(math.log1p(len(parts) / seen[word]) for word in sorted(bag & asked)) for bag in words]
    kept: list[int] = []
    room = max_characters
    for index in sorted(range(len(parts)), key=lambda index: (-worth[index], index)):
        if len(parts[index]) + bool(kept) <= room:
            room -= len(parts[index]) + bool(kept)
            kept.append(index)
    return "\n".join(parts[index] for index in sorted(kept))

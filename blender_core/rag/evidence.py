"""Evidence: does one sentence of the sources speak of what was asked and say what the answer claims?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from blender_core.rag.groundedness import content_words, sentences, without_citations
from blender_core.rag.sources import GroundedCandidate

__all__ = ["EvidenceGroundedness"]

# what the support of a sentence is worth that only repeats words of the question
_REPEATS = 0.3


class EvidenceGroundedness:
    """How well single sentences of an answer's sources bear out both the question and the answer. Needs no model.

    For a sentence of the answer and one of its sources two shares are taken: of the answer's claims that the source
    sentence contains, and of the question's words that it contains. Their product is 1 where one place in the sources
    speaks of the whole question and states the whole answer, and small where a fact was taken from a place that is
    about something else. The best source sentence counts; longer answers average over their sentences, by claims.

    Words count by their rarity among the sentences of all candidates' sources. Words of the question that no source
    has are left out; where that leaves none, only the claims count. A sentence that only repeats words of the question
    counts 0.3 times. ``docs/rag.md`` says how well it picks.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> sources = (Source("The server listens on port 8080. The client gives up after 30 seconds."),)
        >>> candidates = [GroundedCandidate(answer, sources) for answer in ("Port 8080.", "Port 30.", "Port 99.")]
        >>> [round(share, 2) for share in EvidenceGroundedness().score("Which port does the server use?", candidates)]
        [1.0, 0.0, 0.0]
    """

    name = "evidence"

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure; see ``Groundedness.score``."""
        read = [
            [set(content_words(part)) for source in one.sources for part in sentences(source.text)]
            for one in candidates
        ]
        places = {frozenset(words) for group in read for words in group}
        seen = Counter(word for words in places for word in words)
        # a word that no source has is the rarest of all
        rarity = {word: math.log1p(len(places) / count) for word, count in seen.items()}
        unseen = math.log1p(2 * len(places))
        asked = set(content_words(question))
        found = {word: rarity[word] for word in sorted(asked) if word in rarity}
        return [_support(one, group, asked, found, rarity, unseen) for one, group in zip(candidates, read, strict=True)]


def _support(
    candidate: GroundedCandidate,
    read: Sequence[set[str]],
    asked: set[str],
    found: Mapping[str, float],
    rarity: Mapping[str, float],
    unseen: float,
) -> float:
    total = supported = 0.0
    for sentence in sentences(without_citations(candidate.answer)):
        words = set(content_words(sentence))
        fresh = words - asked
        claims = {word: rarity.get(word, unseen) for word in sorted(fresh or words)}
        weight = math.fsum(claims.values())
        best = max((_share(claims, place) * _share(found, place) for place in read), default=0.0)
        total += weight
        supported += weight * best * (1.0 if fresh else _REPEATS)
    return round(supported / total, 6) if total else 0.0


def _share(weights: Mapping[str, float], place: set[str]) -> float:
    """Share of the words, by weight, that a sentence has; 1 where there are no words."""
    total = math.fsum(weights.values())
    return math.fsum(weight for word, weight in weights.items() if word in place) / total if total else 1.0

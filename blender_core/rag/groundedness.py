"""Groundedness: how far an answer is supported by the passages it was given.

All measures are in [0, 1] and look at the answer's claims one by one, against the candidate's own sources only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from blender_core.errors import ConfigurationError
from blender_core.models.text_encoder import Encode, unit_vectors
from blender_core.rag.sources import GroundedCandidate

__all__ = [
    "EmbeddingGroundedness",
    "Groundedness",
    "LexicalGroundedness",
    "content_words",
    "is_abstention",
    "sentences",
    "without_citations",
]

_CITATION = re.compile(r"(?<![ \t])[ \t]*\[(?:sources?\s+)?\d{1,3}(?:\s*[,;\u2013-]\s*\d{1,3})*\](?!\()", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\n+")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\d+(?:[.,]\d+)*|[^\W\d]\w*")
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        _WORD.findall("zero one two three four five six seven eight nine ten eleven twelve"),
    )
}
# words that carry no claim
_FUNCTION_WORDS = _WORD.findall(
    "a about according an and answer any are as at be been but by can context could did do does document documents for "
    "from given had has have how i if in information into is it its may mentioned might must no not of on or passage "
    "provided question should so some source sources such text than that the their them then there these they this "
    "those to use used uses using was we were what when where which while who whose why will with would you your"
)
_ABSTENTION = re.compile(
    r"\b(?:(?:i|we) (?:do not|don['\u2019]?t|cannot|can['\u2019]?t) (?:know|answer|find|determine|tell)"
    r"|(?:not|n['\u2019]t|no) (?:\w+ )?(?:mention|provide|specif|contain|state|given|include|explicit|find|"
    r"enough information|information|answer|possible to)"
    r"|unable to|empty response|not available in|unknown\.?$)",
    re.IGNORECASE,
)


@runtime_checkable
class Groundedness(Protocol):
    """Measures how far each candidate is supported by its own sources. May be called from several threads at once."""

    @property
    def name(self) -> str:
        """Short name, shown in results."""
        ...

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure.

        Args:
            question: What was asked; words that an answer repeats from it are no claims.
            candidates: The candidates.

        Returns:
            One number for each, 0 (no support) to 1. Blank answers and answers without sources have 0.
        """
        ...


class LexicalGroundedness:
    """Share of an answer's words that its sources contain. Needs no model.

    Words of the question and function words do not count, unless nothing else is left. Words are compared without
    case and ending; numbers, and names with capitals, digits or underscores inside, weigh ``fact_weight``.

    Args:
        fact_weight: Weight of numbers and names against other words, at least 0.

    Raises:
        ConfigurationError: The weight is negative.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> sources = (Source("The default timeout is 30 seconds."),)
        >>> answers = ["It is 30 seconds.", "It is 90 minutes."]
        >>> candidates = [GroundedCandidate(answer, sources) for answer in answers]
        >>> LexicalGroundedness().score("What is the default timeout?", candidates)
        [1.0, 0.0]
    """

    name = "words"

    def __init__(self, *, fact_weight: float = 3.0) -> None:
        if not 0 <= fact_weight < math.inf:
            raise ConfigurationError(f"fact_weight is {fact_weight}; it must be a number of at least 0")
        self._fact_weight = fact_weight

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure; see ``Groundedness.score``."""
        asked = set(_words(question))
        return [self._score(asked, candidate) for candidate in candidates]

    def _score(self, asked: set[str], candidate: GroundedCandidate) -> float:
        known = {stem for source in candidate.sources for stem in _words(source.text)}
        claims = _words(without_citations(candidate.answer))
        fresh = {stem: word for stem, word in claims.items() if stem not in asked and stem not in _FUNCTION_STEMS}
        counted = fresh or {stem: word for stem, word in claims.items() if stem not in _FUNCTION_STEMS}
        if not counted or not known:
            return 0.0
        weights = {stem: self._fact_weight if _is_fact(word) else 1.0 for stem, word in counted.items()}
        total = math.fsum(weights.values())
        supported = math.fsum(weight for stem, weight in weights.items() if stem in known)
        return supported / total if total else 0.0


class EmbeddingGroundedness:
    """Nearness of each of an answer's sentences to the nearest sentence of its sources, averaged.

    Cosine similarity, cut at 0. Meaning counts, not wording; a wrong number in the right sentence hardly shows, so
    use it beside ``LexicalGroundedness``.

    Args:
        encode: Takes texts, returns an array ``[n, size]``: a ``TextEncoder``, or a framework's embedding model.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> def letters(texts):
        ...     return [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        >>> candidate = GroundedCandidate("zzz", (Source("abc"),))
        >>> EmbeddingGroundedness(letters).score("?", [candidate])
        [0.0]
    """

    name = "embedding"

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure; see ``Groundedness.score``.

        Raises:
            RankerError: The encoder gave something that is no array of vectors.
        """
        claims = [sentences(without_citations(candidate.answer)) for candidate in candidates]
        passages = [[part for source in one.sources for part in sentences(source.text)] for one in candidates]
        texts = list(dict.fromkeys(text for group in (*claims, *passages) for text in group))
        if not texts:
            return [0.0] * len(candidates)
        places = {text: place for place, text in enumerate(texts)}
        vectors = unit_vectors(self._encode, texts)
        scores = []
        for said, read in zip(claims, passages, strict=True):
            if not said or not read:
                scores.append(0.0)
                continue
            similarity = vectors[[places[text] for text in said]] @ vectors[[places[text] for text in read]].T
            scores.append(round(float(similarity.max(axis=1).clip(0.0, 1.0).mean()), 6))
        return scores


def content_words(text: str) -> list[str]:
    """The words of a text that carry meaning, without case and ending, each once.

    Args:
        text: Any text.

    Returns:
        Stems, in the order in which they first stand.

    Examples:
        >>> content_words("Which ports does the server use?")
        ['port', 'server']
    """
    return [stem for stem in _words(text) if stem not in _FUNCTION_STEMS]


def is_abstention(answer: str) -> bool:
    """Whether a short answer says that it has no answer. English only.

    Args:
        answer: An answer.

    Returns:
        Whether its first 200 characters say so.

    Examples:
        >>> is_abstention("The context does not mention a port."), is_abstention("Port 8080.")
        (True, False)
    """
    return _ABSTENTION.search(answer.strip()[:200]) is not None


def sentences(text: str) -> list[str]:
    """Cut a text at sentence ends and line breaks; parts without a word are left out.

    Args:
        text: Any text.

    Returns:
        The parts.
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if _WORD.search(part)]


def without_citations(text: str) -> str:
    """The text without ``[1]``-style citations, which are no claims.

    Args:
        text: Any text.

    Returns:
        The text.
    """
    return _CITATION.sub("", text)


def _words(text: str) -> dict[str, str]:
    """Stem -> word as written, first appearance."""
    found: dict[str, str] = {}
    for word in _WORD.findall(text):
        # snake_case and its parts both count as found
        for part in (word, *word.split("_")) if "_" in word else (word,):
            if part:
                found.setdefault(_stem(part.lower()), part)
    return found


def _stem(word: str) -> str:
    """Without plural and tense endings; crude, the same on both sides."""
    if word in _NUMBERS:
        return _NUMBERS[word]
    for ending in ("ing", "ied", "ies", "ed", "es", "s", "ly", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _is_fact(word: str) -> bool:
    return any(letter.isdigit() or letter == "_" for letter in word) or word[1:].lower() != word[1:] or word in _NUMBERS


_FUNCTION_STEMS = frozenset(map(_stem, _FUNCTION_WORDS))

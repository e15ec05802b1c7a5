"""Groundedness: how far an answer is supported by the passages it was given.

All measures are in [0, 1] and look at the answer's claims one by one, against the candidate's own sources only.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol, Unpack, runtime_checkable

from blender_core.errors import CheckpointError, RankerError
from blender_core.models.loading import EncoderOptions, load_encoder, takes_load_options
from blender_core.models.text_encoder import TextEncoder, unit_vectors
from blender_core.rag.sources import GroundedCandidate
from blender_core.runtime.numbers import check_number

__all__ = [
    "EmbeddingGroundedness",
    "EvidenceGroundedness",
    "Groundedness",
    "LexicalGroundedness",
    "NLIGroundedness",
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

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure.

        Args:
            question: What was asked; words that an answer repeats from it are no claims.
            candidates: The candidates.

        Returns:
            One number for each, 0 (no support) to 1. Blank answers and answers without sources have 0.
        """


def support_of(measure: Groundedness, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
    """Measure, and check what the measure returned.

    Args:
        measure: The measure.
        question: What was asked.
        candidates: The candidates.

    Returns:
        One number for each, in [0, 1].

    Raises:
        RankerError: The measure returned something else.
    """
    found: Any = measure.score(question, candidates)
    shares = list(found) if isinstance(found, Iterable) else [found]
    if len(shares) != len(candidates) or not all(isinstance(one, Real) and 0.0 <= float(one) <= 1.0 for one in shares):
        raise RankerError(f"groundedness {measure.name} is {shares!r:.200}; give {len(candidates)} numbers in [0, 1]")
    return [float(one) for one in shares]


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
        check_number("fact_weight", fact_weight, least=0)
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
    use it with ``LexicalGroundedness``.

    Args:
        encoder: Any encoder that ``TextEncoder`` takes, an embedding model of LangChain or LlamaIndex among them.
            Default: the one in the package.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> def letters(texts):
        ...     return [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        >>> candidate = GroundedCandidate("zzz", (Source("abc"),))
        >>> EmbeddingGroundedness(letters).score("?", [candidate])
        [0.0]
    """

    name = "embedding"

    def __init__(self, encoder: Any = None) -> None:
        self._encoder = TextEncoder(encoder)

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
        vectors = unit_vectors(self._encoder(texts))
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
    if any(letter.isdigit() or letter == "_" for letter in word) or word.lower() in _NUMBERS:
        return True
    return word[1:].lower() != word[1:]


_FUNCTION_STEMS = frozenset(map(_stem, _FUNCTION_WORDS))


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


Entail = Callable[[list[tuple[str, str]]], Any]
"""Takes ``(premise, hypothesis)`` pairs, returns n probabilities of entailment."""


class NLIGroundedness:
    """Probability that the best passage entails a sentence of the answer, averaged over the sentences.

    Falke et al. 2019 and Laban et al. 2022 (SummaC, zero-shot) rate summaries this way. One forward for each
    sentence with each passage.

    Args:
        entail: Takes ``(premise, hypothesis)`` pairs, returns the probability of entailment of each. It must be safe
            to call from several threads. ``from_pretrained`` makes one.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> measure = NLIGroundedness(lambda pairs: [float(said in read) for read, said in pairs])
        >>> measure.score("?", [GroundedCandidate("B.", (Source("A."), Source("A. B.")))])
        [1.0]
    """

    name = "entailment"

    def __init__(self, entail: Entail) -> None:
        self._entail = entail

    @classmethod
    @takes_load_options(EncoderOptions)
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **load: Unpack[EncoderOptions]) -> NLIGroundedness:
        """Load a classifier with an entailment label, such as ``cross-encoder/nli-deberta-v3-base``.

        A passage that is too long loses its middle.

        Args:
            name_or_path: A folder or a hub repository.
            **load: Where it comes from and how it runs: ``blender_core.models.loading.EncoderOptions``.

        Returns:
            The measure.

        Raises:
            CheckpointError: No label is called entailment.
            BlendError: It cannot be had or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        model = load_encoder(
            "AutoModelForSequenceClassification", name_or_path, load, feature="NLIGroundedness.from_pretrained"
        )
        labels = {int(index): str(label).lower() for index, label in (model.config.id2label or {}).items()}
        index = next((index for index, label in labels.items() if label.startswith("entail")), None)
        if index is None:
            raise CheckpointError(
                f"{os.fspath(name_or_path)} has the labels {sorted(labels.values())}; groundedness needs one that is "
                "called entailment"
            )

        def entail(pairs: list[tuple[str, str]]) -> list[float]:
            rows = [model.tokenizer.pair(premise, said, model.max_tokens) for premise, said in pairs]
            return model.values(rows, lambda logits: logits.softmax(-1)[:, index])

        return cls(entail)

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure; see ``Groundedness.score``.

        Raises:
            RankerError: The model gave something other than one number for each pair.
        """
        import numpy as np

        claims = [sentences(without_citations(candidate.answer)) for candidate in candidates]
        pairs = list(
            dict.fromkeys(
                (source.text, said)
                for candidate, group in zip(candidates, claims, strict=True)
                for said in group
                for source in candidate.sources
            )
        )
        chances = np.asarray(self._entail(pairs) if pairs else [], dtype=np.float64)
        if chances.shape != (len(pairs),) or not np.isfinite(chances).all():
            raise RankerError(
                f"the entailment model gave shape {chances.shape} for {len(pairs)} pairs; give one finite number each"
            )
        known = dict(zip(pairs, chances.tolist(), strict=True))
        scores = []
        for candidate, group in zip(candidates, claims, strict=True):
            best = [max((known[(source.text, said)] for source in candidate.sources), default=0.0) for said in group]
            scores.append(round(sum(best) / len(best), 6) if best else 0.0)
        return scores

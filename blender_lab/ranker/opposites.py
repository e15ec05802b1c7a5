"""Words that turn a statement into its opposite, as tokens of a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OPPOSITES", "opposite_tokens"]

_PAIRS = (
    ("above", "below"),
    ("agree", "disagree"),
    ("always", "never"),
    ("before", "after"),
    ("best", "worst"),
    ("better", "worse"),
    ("correct", "incorrect"),
    ("early", "late"),
    ("easy", "difficult"),
    ("everyone", "nobody"),
    ("everything", "nothing"),
    ("false", "true"),
    ("fast", "slow"),
    ("faster", "slower"),
    ("first", "last"),
    ("good", "bad"),
    ("greater", "smaller"),
    ("high", "low"),
    ("higher", "lower"),
    ("hot", "cold"),
    ("increase", "decrease"),
    ("increased", "decreased"),
    ("increases", "decreases"),
    ("increasing", "decreasing"),
    ("large", "small"),
    ("larger", "smaller"),
    ("legal", "illegal"),
    ("long", "short"),
    ("maximum", "minimum"),
    ("more", "less"),
    ("most", "least"),
    ("north", "south"),
    ("often", "rarely"),
    ("old", "young"),
    ("positive", "negative"),
    ("possible", "impossible"),
    ("right", "wrong"),
    ("safe", "dangerous"),
    ("same", "different"),
    ("strong", "weak"),
    ("with", "without"),
    ("yes", "no"),
)
_DENIED = (
    "are",
    "could",
    "did",
    "do",
    "does",
    "had",
    "has",
    "have",
    "is",
    "may",
    "might",
    "must",
    "should",
    "was",
    "were",
    "will",
    "would",
)


def _opposites() -> dict[str, tuple[str, ...]]:
    # no "can": vocabularies cut "can't" and "can not" behind it
    found: dict[str, tuple[str, ...]] = {"cannot": ("can",), "not": ()}
    for one, other in _PAIRS:
        # the first pair that names a word decides
        found.setdefault(one, (other,))
        found.setdefault(other, (one,))
    return found | {word: (word, "not") for word in _DENIED}


OPPOSITES: dict[str, tuple[str, ...]] = _opposites()
"""Lower-case English word -> the words that say the opposite; ``not`` -> none."""

# SentencePiece and byte-level vocabularies mark the start of a word
_MARKS = ("\u2581", "\u0120")


def opposite_tokens(vocabulary: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
    """The opposites that a vocabulary has whole tokens for.

    Args:
        vocabulary: Token -> id.

    Returns:
        Id of a token -> the ids that take its place. Capitals are kept. Where the vocabulary marks starts of words,
        only tokens with the mark count, so that the end of ``this`` is no ``is``.

    Examples:
        >>> opposite_tokens({"is": 1, "not": 2, "yes": 3, "no": 4, "##is": 5})
        {1: (1, 2), 2: (), 3: (4,), 4: (3,)}
        >>> opposite_tokens({"\u0120Yes": 1, "\u0120No": 2, "Yes": 3})
        {1: (2,), 2: (1,)}
    """
    mark = next((mark for mark in _MARKS if f"{mark}not" in vocabulary or f"{mark}Yes" in vocabulary), "")
    found: dict[int, tuple[int, ...]] = {}
    for word, others in OPPOSITES.items():
        for form in (str.lower, str.capitalize):
            token = f"{mark}{form(word)}"
            # only the first word carries the capital
            wanted = [f"{mark}{form(other) if place == 0 else other}" for place, other in enumerate(others)]
            if token in vocabulary and all(one in vocabulary for one in wanted):
                found[vocabulary[token]] = tuple(vocabulary[one] for one in wanted)
    return dict(sorted(found.items()))

"""Check whether a fused text may replace the top-ranked answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from blender_core.errors import ConfigurationError

__all__ = ["FusionGuard"]

_APOLOGY = re.compile(
    r"^\W*(i['\u2019]?m sorry|i am sorry|sorry\b|i apologi[sz]e|my apologies|unfortunately,? i (can|am)|"
    r"i (can['\u2019]?t|cannot|can not|am unable to|am not able to|won['\u2019]?t)\b|"
    r"as an? (ai|(large )?language model)\b)",
    re.IGNORECASE,
)
_TALKS_ABOUT_CANDIDATES = re.compile(
    r"^\W*(here is|here['\u2019]s|this is|the) (the )?(final|fused|combined|merged) answer\b.{0,80}candidate"
    r"|<\s?/?candidate\b|\bcandidates? (number )?\d\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class FusionGuard:
    """Checks a fused text before it is used.

    Attributes:
        min_length_ratio: Shortest allowed length, as a share of the top-ranked answer's length in characters.
            It applies if that answer is longer than ``short_answer``.
        max_length_ratio: Longest allowed length, as a multiple of all fused candidates together.
        short_answer: Top-ranked answers up to this length in characters set no minimum; the maximum grows by it.
        max_repeated_share: Largest allowed share of repetitions among the runs of ``ngram`` words, in (0, 1].
        ngram: Length of a run in words.

    Examples:
        >>> guard = FusionGuard()
        >>> guard.check("I'm sorry, I cannot do that.", ["The sky is blue because of Rayleigh scattering."])
        'an apology or a refusal'
        >>> guard.check("Rayleigh scattering makes the sky blue.", ["The sky is blue."]) is None
        True
    """

    min_length_ratio: float = 0.2
    max_length_ratio: float = 3.0
    short_answer: int = 200
    max_repeated_share: float = 0.3
    ngram: int = 4

    def __post_init__(self) -> None:
        if self.ngram < 1 or not 0 < self.max_repeated_share <= 1:
            raise ConfigurationError(
                f"ngram is {self.ngram} and max_repeated_share {self.max_repeated_share}; "
                "use an ngram of 1 or more and a share in (0, 1]"
            )

    def check(self, text: str, candidates: Sequence[str], *, complete: bool = True) -> str | None:
        """Return why the text must not be used, or ``None`` if it may be.

        Args:
            text: The fused text, or its beginning while it streams.
            candidates: The fused candidates, best first.
            complete: Whether ``text`` is complete; only then its minimum length is checked.

        Returns:
            The reason, or ``None``.
        """
        stripped = text.strip()
        best = candidates[0].strip()
        if complete and not _WORD.search(stripped):
            return "an empty text"
        if _APOLOGY.match(stripped) and not _APOLOGY.match(best):
            return "an apology or a refusal"
        if _TALKS_ABOUT_CANDIDATES.search(stripped) and not _TALKS_ABOUT_CANDIDATES.search(" ".join(candidates)):
            return "it talks about the candidates"
        if self.loops(stripped) and not self.loops(best):
            return "it repeats itself"
        if len(stripped) > self.max_length_ratio * sum(map(len, candidates)) + self.short_answer:
            return f"{len(stripped)} characters, more than {self.max_length_ratio:g} times its candidates"
        if complete and len(best) > self.short_answer and len(stripped) < self.min_length_ratio * len(best):
            return f"{len(stripped)} characters, a fraction of the best candidate's {len(best)}"
        return None

    def loops(self, text: str) -> bool:
        """Tell whether runs of words repeat more than ``max_repeated_share`` allows."""
        words = [word.lower() for word in _WORD.findall(text)]
        runs = [tuple(words[start : start + self.ngram]) for start in range(len(words) - self.ngram + 1)]
        if len(runs) < 3 * self.ngram:
            return False
        repeated = sum(count - 1 for count in Counter(runs).values())
        return repeated / len(runs) > self.max_repeated_share

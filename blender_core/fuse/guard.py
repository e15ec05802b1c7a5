"""Check whether a fused text may replace the top-ranked answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from blender_core.runtime.numbers import check_number
from blender_core.text.loops import loops
from blender_core.text.refusal import is_refusal, may_become_refusal

__all__ = ["FusionGuard"]

_TALKS_ABOUT_CANDIDATES = re.compile(
    r"^\W*(here is|here['\u2019]s|this is|the) (the )?(final|fused|combined|merged) answer\b.{0,80}candidate"
    r"|<\s?/?candidate\b|\bcandidates? (number )?\d\b",
    re.IGNORECASE,
)
_MAY_TALK_ABOUT_CANDIDATES = re.compile(
    r"\W*(here is|here['\u2019]s|this is|the) (the )?(final|fused|combined|merged)\b", re.IGNORECASE
)
_WORD = re.compile(r"\w")
# a huge text must not block the event loop
_READ = 20_000


@dataclass(frozen=True, slots=True)
class FusionGuard:
    """Checks a fused text before it is used.

    Attributes:
        min_length_ratio: Shortest allowed length, as a share of the top-ranked answer's length in characters.
            It applies if that answer is longer than ``short_answer``.
        max_length_ratio: Longest allowed length, as a multiple of all fused candidates together.
        short_answer: Top-ranked answers up to this length in characters set no minimum; the maximum grows by it.

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

    def __post_init__(self) -> None:
        check_number("min_length_ratio", self.min_length_ratio, least=0)
        check_number("max_length_ratio", self.max_length_ratio, above=0, finite=False)
        check_number("short_answer", self.short_answer, least=0, whole=True)

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
        if len(stripped) > self.max_length_ratio * sum(map(len, candidates)) + self.short_answer:
            return f"{len(stripped)} characters, more than {self.max_length_ratio:g} times its candidates"
        if is_refusal(stripped):
            return "an apology or a refusal"
        talks = _TALKS_ABOUT_CANDIDATES.search
        if talks(stripped[:_READ]) and not talks(" ".join(candidates)):
            return "it talks about the candidates"
        if complete and len(best) > self.short_answer and len(stripped) < self.min_length_ratio * len(best):
            return f"{len(stripped)} characters, a fraction of the best candidate's {len(best)}"
        if loops(stripped):
            return "it repeats itself"
        return None

    def suspects(self, beginning: str) -> bool:
        """Tell whether a text may yet turn out to be refused, by its first words.

        Args:
            beginning: The beginning of a fused text, at least its first two words.

        Returns:
            Whether it begins as a refusal does, or as a text about the candidates.

        Examples:
            >>> FusionGuard().suspects("I'm sorry, the sky"), FusionGuard().suspects("The sky is blue")
            (True, False)
        """
        opening = beginning.strip()
        return may_become_refusal(opening) or _MAY_TALK_ABOUT_CANDIDATES.match(opening) is not None

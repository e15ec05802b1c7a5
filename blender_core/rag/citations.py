"""Renumber citations such as ``[1]`` or ``[1, 3]``, and drop those that point to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["CitationReport", "RewrittenText", "StreamedCitations", "rewrite_citations"]

_LONGEST = 60
# "[1]", "[1, 2]", "[1-3]", "[Source 2]"; not a Markdown link's text. A run of spaces is tried from its start alone
_CITATION = re.compile(
    r"(?P<space>(?<![ \t])[ \t]*)\[(?P<label>(?:(?:sources?|documents?|docs?|passages?)\s+)?)"
    r"(?P<numbers>\d{1,3}(?:\s*[,;\u2013-]\s*\d{1,3})*)\](?!\()",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)
_CODE_SPAN = re.compile(r"(?<!`)(`++)[^\n]*?(?<!`)\1(?!`)")
# "= [1, 2]" and "f([1])" are code, '"pages": [1]' is JSON
_CODE_BEFORE = re.compile(r'(?:[=\[{+*/<>]|\w\(|":)\s*$')
_WORD_BEFORE = re.compile(r"\w$")


@dataclass(frozen=True, slots=True)
class RewrittenText:
    """Holds a text with renumbered citations.

    Attributes:
        text: The text.
        cited: The new numbers that it cites, each once, in order of first appearance.
        dropped: The old numbers that point to nothing, in order of appearance.
    """

    text: str
    cited: tuple[int, ...]
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CitationReport:
    """Reports the citations of one result.

    Attributes:
        cited: Numbers of the sources that the final text cites.
        dropped: Member's name, or ``"fused text"`` -> the dropped numbers of citations to nothing in its text.
    """

    cited: tuple[int, ...] = ()
    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def rewrite_citations(text: str, numbers: Mapping[int, int]) -> RewrittenText:
    """Renumber citations; drop those without a new number, with the space before them.

    Brackets in code, after an operator and after a key of JSON are no citations. Directly after a word, as in
    ``items[0]``, brackets are a citation only if they have a new number.

    Args:
        text: Any text.
        numbers: Old number -> new number.

    Returns:
        The new text, and what was cited and dropped.

    Examples:
        >>> rewrite_citations("Blue [2], by scattering [2][7]. Use `x[1]`.", {1: 4, 2: 5})
        RewrittenText(text='Blue [5], by scattering [5]. Use `x[1]`.', cited=(5,), dropped=(7,))
    """
    code = list(_code(text))
    pieces: list[str] = []
    cited: dict[int, None] = {}
    dropped: list[int] = []
    end = 0
    for match in _CITATION.finditer(text):
        start = match.start("space")
        if any(first <= match.end("space") < last for first, last in code):
            continue
        old = list(_expand(match["numbers"]))
        before = text[max(0, start - _LONGEST) : start]
        known = any(number in numbers for number in old)
        if _CODE_BEFORE.search(before) or (not match["space"] and not known and _WORD_BEFORE.search(before)):
            continue
        new = list(dict.fromkeys(numbers[number] for number in old if number in numbers))
        dropped += [number for number in old if number not in numbers]
        cited.update(dict.fromkeys(new))
        pieces.append(text[end:start])
        if new:
            pieces.append(f"{match['space']}[{match['label']}{', '.join(map(str, new))}]")
        end = match.end()
    return RewrittenText("".join([*pieces, text[end:]]), tuple(cited), tuple(dropped))


class StreamedCitations:
    """Rewrites citations in a streamed text; one object for one text.

    Text that was returned cannot change any more, so an open bracket or code span is held until it closes.

    Args:
        numbers: Old number -> new number.

    Examples:
        >>> stream = StreamedCitations({1: 3})
        >>> [stream.feed("Blue"), stream.feed(" ["), stream.feed("1] and"), stream.feed(" [9]."), stream.close()]
        ['Blue', '', ' [3] and', '.', '']
    """

    def __init__(self, numbers: Mapping[int, int]) -> None:
        self._numbers = dict(numbers)
        self._raw = ""
        self._given = 0

    def feed(self, piece: str) -> str:
        """Take a piece, and return the text that cannot change any more."""
        self._raw += piece
        return self._give(rewrite_citations(self._raw[: self._certain()], self._numbers).text)

    def close(self) -> str:
        """Return the rest of the text."""
        return self._give(self.rewritten.text)

    @property
    def rewritten(self) -> RewrittenText:
        """The whole text so far, rewritten."""
        return rewrite_citations(self._raw, self._numbers)

    def _give(self, text: str) -> str:
        fresh = text[self._given :]
        self._given = max(self._given, len(text))
        return fresh

    def _certain(self) -> int:
        raw = self._raw
        end = len(raw)
        bracket = raw.rfind("[")
        if bracket >= 0:
            closed = raw.find("]", bracket)
            # a bracket at the very end may still turn out to be a link: "[1]" + "(..."
            if (closed < 0 and end - bracket <= _LONGEST) or closed == end - 1:
                end = bracket
        line = raw.rfind("\n", 0, end) + 1
        # a span in backticks is code only once it is closed
        last = raw[line:]
        if last.endswith("`") or "`" in _CODE_SPAN.sub("", last):
            end = min(end, line + last.index("`"))
        # a dropped citation takes the space before it with it
        return len(raw[:end].rstrip(" \t"))


def _code(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of all code: from a fence to the next or to the end, and other spans in backticks."""
    fences = [match.start() for match in _FENCE.finditer(text)]
    blocks = [
        (start, fences[place + 1] if place + 1 < len(fences) else len(text))
        for place, start in enumerate(fences)
        if place % 2 == 0
    ]
    yield from blocks
    for match in _CODE_SPAN.finditer(text):
        if not any(first <= match.start() < last for first, last in blocks):
            yield match.span()


def _expand(numbers: str) -> Iterator[int]:
    for part in re.split(r"\s*[,;]\s*", numbers):
        ends = [int(number) for number in re.split(r"\s*[\u2013-]\s*", part)]
        if len(ends) == 2 and ends[0] < ends[1]:
            yield from range(ends[0], ends[1] + 1)
        else:
            yield from ends

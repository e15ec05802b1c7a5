"""Normalise the Unicode of untrusted texts in linear time."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

__all__ = ["in_parts", "normalize", "without_surrogates"]

# as in Unicode's Stream-Safe Text Format (UAX 15); no language needs as many
_MOST_MARKS = 30
# matches every mark and little else, so that few texts need the exact check
_MAYBE_MARKS = re.compile(r"(?:[^\w\s\x00-\x7f]|[\uff9e\uff9f])" f"{{{_MOST_MARKS + 1},}}")


# at a few nanoseconds a character, one part takes about a millisecond
_PART = 100_000
_SPACE = re.compile(r"\s")


def in_parts(text: str) -> Iterator[str]:
    """Split a huge text at white space into parts, so that no single step on it holds the interpreter for long.

    Args:
        text: Any text.

    Yields:
        Parts of about 100,000 characters; each but the first begins with white space. Joined they are the text.

    Examples:
        >>> [len(part) for part in in_parts("word " * 30_000)]
        [100004, 49996]
    """
    start = 0
    while start < len(text):
        space = _SPACE.search(text, start + _PART)
        end = len(text) if space is None else space.start()
        yield text[start:end]
        start = end


def without_surrogates(text: str) -> str:
    r"""Replace lone surrogates, which no tokenizer and no JSON can encode, by question marks.

    Args:
        text: Any text; a cut-off JSON escape may have left half of a character in it.

    Returns:
        The text, unchanged if it can be encoded as UTF-8.

    Examples:
        >>> without_surrogates("half \ud83d"), without_surrogates("whole \U0001f600") == "whole \U0001f600"
        ('half ?', True)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def normalize(form: Literal["NFC", "NFKC"], text: str) -> str:
    """Apply ``unicodedata.normalize`` in linear time.

    Python sorts combining marks in quadratic time: a long run of them in mixed order takes minutes.

    Args:
        form: ``"NFC"`` or ``"NFKC"``.
        text: Any text.

    Returns:
        The normal form; the text itself if more than 30 combining marks follow each other.

    Examples:
        >>> normalize("NFKC", "e\u0301\u00bd") == "\u00e91\u20442"
        True
    """
    if text.isascii() or any(_has_long_run(found.group()) for found in _MAYBE_MARKS.finditer(text)):
        return text
    return unicodedata.normalize(form, text)


def _has_long_run(text: str) -> bool:
    return any(mark and sum(1 for _ in run) > _MOST_MARKS for mark, run in itertools.groupby(text, _is_mark))


def _is_mark(character: str) -> bool:
    """Tell whether a character is a combining mark, or made of them."""
    return unicodedata.combining(unicodedata.normalize("NFKD", character)[0]) != 0

"""Recognise a text that got stuck and repeats itself."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["loops"]

# the end shows it: a model that got stuck goes on until its limit
_END, _READ = 4_000, 20_000
# a repeated end: least length of the unit -> least repetitions, least characters of the repeated end
_PERIODS = ((100, 3, 300), (20, 4, 200), (1, 8, 160))
# of every such end so many characters at least come again, one unit earlier
_LEAST_AGAIN = min(least - least // times for _, times, least in _PERIODS)
# digits alone may be data, and other signs a line or a table
_LEAST_DIGITS, _LEAST_SIGNS = 500, 1_500
_FENCED = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<=[\u3002\uff01\uff1f\u0964])|\n")
_LIST_MARK = re.compile(r"^(?:[-*+\u2022#>]+|\(?(?:\d{1,4}|[a-z])[.):])\s+")
# a table's row, and a line of code
_NO_SENTENCE = re.compile(r"^\||[;{}\])]$|^\s{4}|\t")
_LEAST_LETTERS, _LEAST_WIDE_LETTERS = 15, 6
# sentences that were all said before, one after the other
_LEAST_SENTENCES, _LEAST_TIMES, _LEAST_CHARACTERS, _LEAST_SHARE = 6, 3.0, 200, 0.4


def loops(text: str) -> bool:
    """Tell whether a text got stuck: its end, or a large part of it, is the same again and again.

    The repetitions must follow each other. So a refrain, a list of similar lines, a table and code are no loops.
    Only the last 20,000 characters are read.

    Args:
        text: An answer, or its beginning while it streams.

    Returns:
        Whether it loops.

    Examples:
        >>> loops("I like tea. " * 40), loops("Row, row, row your boat, gently down the stream.")
        (True, False)
    """
    read = text[-_READ:]
    folded = " ".join(read[-_END:].split()).lower()
    return _end_repeats(folded) or _says_nothing_new(read)


def _end_repeats(text: str) -> bool:
    """Tell whether the text ends with one unit several times, the last perhaps cut."""
    backwards = text[::-1]
    if len(text) < _PERIODS[-1][2] or backwards.find(backwards[:_LEAST_AGAIN], 1) < 0:
        # so most texts need no search in Python, which takes a thousand times as long
        return False
    # prefix function of Knuth, Morris and Pratt: length + 1 - border is the smallest period of a beginning
    borders = [0] * len(backwards)
    border = 0
    for place in range(1, len(backwards)):
        while border and backwards[place] != backwards[border]:
            border = borders[border - 1]
        border += backwards[place] == backwards[border]
        borders[place] = border
        length = place + 1
        period = length - border
        if length >= _PERIODS[-1][2] and _is_loop(backwards, period, length):
            return True
    return False


def _is_loop(backwards: str, period: int, length: int) -> bool:
    times, least = next((times, least) for shortest, times, least in _PERIODS if period >= shortest)
    if length < least or length < times * period:
        return False
    unit = backwards[:period]
    if any(map(str.isalpha, unit)):
        return True
    return length >= (_LEAST_DIGITS if any(map(str.isdigit, unit)) else _LEAST_SIGNS)


def _says_nothing_new(text: str) -> bool:
    """Tell whether a large part of the text are sentences that came before."""
    prose = _FENCED.sub("\n", text)
    seen: set[str] = set()
    run: list[str] = []
    for part in _SENTENCE_END.split(prose):
        line = part.strip()
        key = _LIST_MARK.sub("", line.lower())
        if _NO_SENTENCE.search(part) or not _is_long(key):
            continue
        if key in seen:
            run.append(key)
            if _is_stuck(run, len(text)):
                return True
        else:
            seen.add(key)
            run = []
    return False


def _is_stuck(run: list[str], whole: int) -> bool:
    if len(run) < _LEAST_SENTENCES or len(run) < _LEAST_TIMES * len(set(run)):
        return False
    repeated = sum(map(len, run))
    return repeated >= max(_LEAST_CHARACTERS, _LEAST_SHARE * whole)


def _is_long(sentence: str) -> bool:
    """Tell whether a sentence is long enough to count; one sign of Chinese is as much as several letters."""
    letters = sum(map(str.isalpha, sentence))
    if letters >= _LEAST_LETTERS:
        return True
    return letters >= _LEAST_WIDE_LETTERS and any(unicodedata.east_asian_width(sign) == "W" for sign in sentence)

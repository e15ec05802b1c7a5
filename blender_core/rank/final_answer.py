"""The short answer at the end of a worked solution, where a text states one plainly."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["final_answer", "short_answer"]

# the last statement of these forms counts, so that a corrected answer replaces an earlier one
_STATED = re.compile(
    r"(?i:\banswer\s*(?:is|:|=)\s*:?[ \t]*)|^[ \t]*#{2,}[ \t]*(?=-?[\d.])|^[ \t]*A[ \t]*:[ \t]*", re.MULTILINE
)
_LONGEST = 80
_SHORT_WORDS = 3
_SHORT_CHARACTERS = 40
_SENTENCE_WORDS = 25
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:)]?")
# "14 + 34 = 48", "75 divided by 5 is 15.", "the total is $12": the number that a short text ends with
_ENDS_WITH_NUMBER = re.compile(
    r"(?:=|\b(?:is|are|be|was|equals|gives|makes))\s*(?P<value>[-+]?\$?\s*\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?)\s*\.?$"
)
_BOXED = re.compile(r"\\boxed\s*\{(?P<value>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_OPTION = re.compile(r"^\(?([A-Z])\)?(?![\w'])")
_NUMBER = re.compile(r"^[-+]?\$?\s*(\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*(\d+))?")


def final_answer(text: str) -> str | None:
    r"""The final answer that a text states, in a normal form that can be compared.

    Only plain statements count (``The answer is ...``, ``Answer: ...``, ``\boxed{...}``, ``#### 12``): a text
    without one has no final answer, which is the usual case for open questions.

    Args:
        text: A candidate answer.

    Returns:
        The answer in lower case without markup, or ``None`` where none is stated.

    Examples:
        >>> final_answer("2 + 2 is 4, so the answer is (C).")
        'c'
        >>> final_answer("Adding up:\n**Answer:** $1,200.00 in total")
        '1200'
        >>> final_answer("Autumn is a fine season.") is None
        True
    """
    plain = _plain(text)
    stated = [match.end() for match in _STATED.finditer(plain)]
    boxed = list(_BOXED.finditer(plain))
    if boxed and (not stated or boxed[-1].end() > stated[-1]):
        return _normal(boxed[-1].group("value"))
    if not stated:
        return None
    return _normal(plain[stated[-1] :].split("\n", 1)[0][:_LONGEST])


def short_answer(text: str) -> str | None:
    """The answer of a text that is hardly more than that, in the form that ``final_answer`` gives.

    A text of at most three words, and a single sentence that ends with a number, count.

    Args:
        text: A candidate answer.

    Returns:
        The answer, or ``None`` where the text is longer.

    Examples:
        >>> short_answer("14 + 34 = 48"), short_answer("48."), short_answer("(B)"), short_answer("Paris!")
        ('48', '48', 'b', 'paris')
        >>> short_answer("The capital of France is Paris.") is None
        True
    """
    line = _plain(text).strip(" \n\t`\"'*")
    if not line or "\n" in line:
        return None
    words = len(line.split())
    # scripts without spaces have one word in a line
    if words <= _SHORT_WORDS and len(line) <= _SHORT_CHARACTERS:
        letter = _LETTER.fullmatch(line)
        # "A cat" is no choice of the option A
        return letter.group(1).lower() if letter else _normal(line) if _NUMBER.match(line) else _folded(line)
    number = _ENDS_WITH_NUMBER.search(line) if words <= _SENTENCE_WORDS else None
    return _normal(number.group("value")) if number else None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("**", "")


def _normal(value: str) -> str | None:
    value = value.strip(" *_`\"'()[]{}$\\.")
    option = _OPTION.match(value)
    if option:
        return option.group(1).lower()
    number = _NUMBER.match(value)
    if number:
        whole = number.group(1).replace(",", "")
        if "." in whole:
            whole = whole.rstrip("0").rstrip(".")
        whole = whole.lstrip("0") or "0"
        sign = "-" if value.startswith("-") else ""
        return f"{sign}{whole}/{number.group(2)}" if number.group(2) else f"{sign}{whole}"
    return _folded(value)


def _folded(value: str) -> str | None:
    return " ".join(re.sub(r"[^\w\s./+-]", "", value).lower().split()).strip(".") or None

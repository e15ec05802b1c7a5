"""Find the short answer that a worked solution states at its end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from blender_core.text.unicode import normalize

__all__ = ["final_answer", "merge_units", "short_answer"]

# the last statement of these forms counts, so that a corrected answer replaces an earlier one
_STATED = re.compile(
    r"(?i:\banswer\s*(?:is|:|=)\s*:?[ \t]*)|^[ \t]*#{2,}[ \t]*(?=-?[\d.])|^[ \t]*A[ \t]*:[ \t]*", re.MULTILINE
)
_LONGEST = 80
_SHORT_WORDS = 3
_SHORT_CHARACTERS = 40
_SENTENCE_WORDS = 25
# a huge text must not take long: of the final answer the end is read, and a short one holds little but white space
_READ, _LONGEST_SHORT = 50_000, 500_000
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:)]?")
# "14 + 34 = 48", "75 divided by 5 is 15.", "the total is $12": the number that a short text ends with
# possessive: backtracking cannot help, and takes quadratic time
_ENDS_WITH_NUMBER = re.compile(
    r"(?:=|\b(?:is|are|be|was|equals|gives|makes))\s*+"
    r"(?P<value>[-+]?\$?\s*+\d[\d,]*+(?:\.\d++)?(?:\s*/\s*+\d++)?)\s*\.?$"
)
_BOXED = re.compile(r"\\boxed\s*+\{(?P<value>[^{}]*+(?:\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\}[^{}]*+)*+)\}")
# "B", "(B) Paris", "B) Paris", "B. Paris", "B, as ..."; "A towel", "I do not know" and "C++" are no options
_OPTION = re.compile(r"\(([A-Z])(?:\)|$)|([A-Z])(?:[).:,;]?$|[).:]\s|(?<!I)(?:[,;]\s|\s+(?:as|because|is|since)\b))")
_NUMBER = re.compile(r"([-+]?)\$?\s*(\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*(\d+))?(?:[eE]([-+]?\d+))?(?![\w^\\{*])")
_NOT_A_UNIT = re.compile(
    r"a|an|and|as|at|because|by|for|from|if|in|is|of|on|or|out|per|since|so|that|the|there|to|total|when|which"
)
_EXPLAINED = re.compile(r"\s+\([^()]*\)$|[;,]\s+(?=[^\W\d]).*$|\.\s.*$")
_SPACED = re.compile(r"\s*([^\w\s.])\s*")
_LATEX = (
    (re.compile(r"\\(?:left|right|displaystyle|[,;!: ()\[\]])"), ""),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\(?:text|mathrm|textbf)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\frac\s*\{(-?\d+)\}\s*\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"\\(?:cdot|times)"), "*"),
    (re.compile(r"\\%"), "%"),
)
# NFKC would make 102 of a ten with a small two, and eleven halves of one and a half
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070\u2074-\u207b\u207f]+")
_AFTER_NUMBER = re.compile("(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215e])")
# tabs, carriage returns and separators: the patterns and ``strip`` below know only the space
_OTHER_SPACE = re.compile(r"[^\S\n]")
# a pair of stars is markup; between operands it is a power
_BOLD = re.compile(r"(?<![\w)])\*\*|\*\*(?![\w(])")
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2044": "/"})


def final_answer(text: str) -> str | None:
    r"""Find the final answer that a text states, in a normal form that can be compared.

    Only plain statements count: ``The answer is ...``, ``Answer: ...``, ``\boxed{...}``, ``#### 12``. Most answers to
    open questions have none. The last 50,000 characters are read. A number keeps the word after it (see
    ``merge_units``).

    Args:
        text: A candidate answer.

    Returns:
        The answer in lower case without markup, or ``None`` if none is stated.

    Examples:
        >>> final_answer("2 + 2 is 4, so the answer is (C).")
        'c'
        >>> final_answer("Adding up:\n**Answer:** $1,200.00 in total")
        '1200'
        >>> final_answer("Answer: 5 million people"), final_answer("Answer: I do not know.")
        ('5 million', 'i do not know')
        >>> final_answer("Autumn is a fine season.") is None
        True
    """
    plain = _plain(text[-_READ:])
    stated = [match.end() for match in _STATED.finditer(plain)]
    boxed = list(_BOXED.finditer(plain))
    if boxed and (not stated or boxed[-1].end() > stated[-1]):
        return _normal(boxed[-1].group("value")[:_LONGEST])
    if not stated:
        return None
    return _normal(plain[stated[-1] :].split("\n", 1)[0][:_LONGEST])


def short_answer(text: str) -> str | None:
    """Find the answer of a short text; see ``final_answer``.

    A text of at most three words, and a single sentence that ends with a number, count.

    Args:
        text: A candidate answer.

    Returns:
        The answer, or ``None`` if the text is longer.

    Examples:
        >>> short_answer("14 + 34 = 48"), short_answer("48."), short_answer("(B)"), short_answer("Paris!")
        ('48', '48', 'b', 'paris')
        >>> short_answer("The capital of France is Paris.") is None
        True
    """
    if len(text) > _LONGEST_SHORT:
        return None
    line = _plain(text).strip(" \n\t`\"'*")
    if not line or "\n" in line:
        return None
    words = len(line.split())
    # scripts without spaces have one word in a line
    if words <= _SHORT_WORDS and len(line) <= _SHORT_CHARACTERS:
        letter = _LETTER.fullmatch(line)
        return letter.group(1).lower() if letter else _normal(line)
    number = _ENDS_WITH_NUMBER.search(line) if words <= _SENTENCE_WORDS else None
    # fold runs of spaces: the patterns take quadratic time on them
    return _normal(" ".join(number.group("value").split())) if number else None


def merge_units(answers: Sequence[str | None]) -> list[str | None]:
    """Merge a bare number with the same number with a unit, in answers to one prompt.

    Args:
        answers: Answers as from ``final_answer``.

    Returns:
        The answers. A number stays bare if candidates state it with different units.

    Examples:
        >>> merge_units(["42", "42 apples", "7", None])
        ['42 apples', '42 apples', '7', None]
        >>> merge_units(["5", "5 million", "5 billion"])
        ['5', '5 million', '5 billion']
    """
    units: dict[str, set[str]] = {}
    for answer in answers:
        number, _, unit = (answer or "").partition(" ")
        if unit and _NUMBER.fullmatch(number):
            units.setdefault(number, set()).add(f"{number} {unit}")
    only = {number: next(iter(found)) for number, found in units.items() if len(found) == 1}
    return [answer if answer is None else only.get(answer, answer) for answer in answers]


def _plain(text: str) -> str:
    spaced = _AFTER_NUMBER.sub(" ", _RAISED.sub(lambda raised: f"^{raised.group()}", text))
    lines = "\n".join(normalize("NFKC", spaced).splitlines())
    return _BOLD.sub("", _OTHER_SPACE.sub(" ", lines).translate(_MINUS))


def _normal(value: str) -> str | None:
    for pattern, replacement in _LATEX:
        value = pattern.sub(replacement, value)
    value = value.strip(" \n*_`\"'$.\\").lstrip(")]}")
    option = _OPTION.match(value)
    if option:
        return (option.group(1) or option.group(2)).lower()
    explained = _EXPLAINED.sub("", value)
    number = _number(explained) or _number(explained.rpartition("=")[2].strip(" $"))
    return number or _folded(value)


def _number(value: str) -> str | None:
    """Read a number and the word after it; ``None`` if digits or symbols follow."""
    found = _NUMBER.match(value)
    rest = value[found.end() :].strip(" \n*_`\"'$.!") if found else ""
    if found is None or re.search(r"\d|[^\w\s%.'-]", rest) or rest[:1] == "-":
        return None
    sign, whole, divisor, exponent = found.groups()
    whole = whole.replace(",", "")
    if "." in whole:
        whole = whole.rstrip("0").rstrip(".")
    whole = whole.lstrip("0") or "0"
    number = (
        f"{'-' if sign == '-' else ''}{whole}{f'/{divisor}' if divisor else ''}{f'e{exponent}' if exponent else ''}"
    )
    words = rest.lower().split()
    unit = words[0].strip(".'") if words else ""
    unit = "%" if unit in ("percent", "%") else unit
    return number if not unit or _NOT_A_UNIT.fullmatch(unit) else f"{number} {unit}"


def _folded(value: str) -> str | None:
    value = re.sub(r"(?<=[^\W\d]),", " ", re.sub(r"[\"'`!?;$]", "", value))
    if value[:1] + value[-1:] in ("()", "[]", "{}") and "," not in value:
        value = value[1:-1]
    return " ".join(_SPACED.sub(r"\1", value).lower().split()).strip(".") or None

"""Check the calculations that a text states, such as ``12 * 3 = 36``."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator

__all__ = ["calculation_score", "evaluate"]

# more of a text tells nothing new, and a huge one must not take long
_READ_CHARACTERS, _MOST_CALCULATIONS = 20_000, 50
_LONGEST_EXPRESSION = 120
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+")
_TOKEN = re.compile(rf"\s*(?:({_NUMBER.pattern})|([-+*/()]))")
# an expression, an equals sign, and so on; letters, units and other signs end it
_EQUATION = re.compile(r"[\d.(][\d.,+\-*/() ]{0,100}(?: {0,3}= {0,3}-?[\d.(][\d.,+\-*/() ]{0,100})+")
# a minus or a slash without spaces may be a date, a range or a name
_ASKED = re.compile(
    rf"(?<![\w.,/-])-?(?:{_NUMBER.pattern})(?:(?: ?[+*] ?| [-/] )(?:{_NUMBER.pattern}))+(?![\w/-]|\.\d|,\d)"
)
_PART_BEFORE = re.compile(r"(?:[\w)\]}{.]|[=*/+^-] ?)$")
_PART_AFTER = re.compile(r"[\w^%{\u00b0]")
_ASKS = re.compile(
    r"\b(?:what(?: is|'s)|how much|calculate|compute|evaluate|solve|sum|result|work out|was ist|wie ?viel|berechne\w*"
    r"|combien|calcule\w*|cu\u00e1nto)\b|=",
    re.IGNORECASE,
)
_SIGNS = str.maketrans(
    {"\u00d7": "*", "\u22c5": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "$": " ", "\u20ac": " ", "\\": " "}
)
# stated results are rounded
_RELATIVE = 6e-3


def evaluate(expression: str) -> float | None:
    """Evaluate numbers with ``+ - * /`` and parentheses.

    Args:
        expression: The expression; a comma before three digits groups thousands.

    Returns:
        The value, or ``None`` if it is no such expression or divides by zero.

    Examples:
        >>> evaluate("2 + 3 * (4 - 1)"), evaluate("1,200 / 4"), evaluate("2 +")
        (11.0, 300.0, None)
    """
    if len(expression) > _LONGEST_EXPRESSION:
        return None
    tokens: list[str] = []
    place = 0
    text = expression.strip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            return None
        tokens.append(found[1] or found[2])
        place = found.end()
    try:
        value, rest = _sum(tokens, 0)
    except (IndexError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if rest == len(tokens) and math.isfinite(value) else None


def _sum(tokens: list[str], place: int) -> tuple[float, int]:
    value, place = _product(tokens, place)
    while place < len(tokens) and tokens[place] in "+-":
        other, after = _product(tokens, place + 1)
        value, place = (value + other if tokens[place] == "+" else value - other), after
    return value, place


def _product(tokens: list[str], place: int) -> tuple[float, int]:
    value, place = _factor(tokens, place)
    while place < len(tokens) and tokens[place] in "*/":
        other, after = _factor(tokens, place + 1)
        value, place = (value * other if tokens[place] == "*" else value / other), after
    return value, place


def _factor(tokens: list[str], place: int) -> tuple[float, int]:
    token = tokens[place]
    if token == "-":
        value, place = _factor(tokens, place + 1)
        return -value, place
    if token == "(":
        value, place = _sum(tokens, place + 1)
        if tokens[place] != ")":
            raise ValueError(token)
        return value, place + 1
    return float(token.replace(",", "")), place + 1


def calculation_score(prompt: str, answer: str) -> float:
    """Tell whether the calculations in an answer are right.

    What counts are equations in the answer, and the result of the one calculation that the prompt asks for.

    Args:
        prompt: The prompt.
        answer: The answer.

    Returns:
        Right ones minus wrong ones, divided by their number, in [-1, 1]; 0 if there are none.

    Examples:
        >>> calculation_score("What is 17 + 5?", "22"), calculation_score("What is 17 + 5?", "17 + 5 = 23")
        (1.0, -1.0)
        >>> calculation_score("Why?", "Since 3 * 4 = 12."), calculation_score("In 2019-2020?", "Since 3.")
        (1.0, 0.0)
    """
    text = answer[:_READ_CHARACTERS].translate(_SIGNS)
    checks = [*_asked(prompt[:_READ_CHARACTERS].translate(_SIGNS), text), *_stated(text)]
    return sum(1.0 if check else -1.0 for check in checks) / len(checks) if checks else 0.0


def _asked(prompt: str, answer: str) -> Iterator[bool]:
    found = _ASKED.findall(prompt) if _ASKS.search(prompt) else []
    value = evaluate(found[0]) if len(found) == 1 else None
    if value is not None:
        numbers = [float(one.replace(",", "")) for one in re.findall(rf"(?<![\d.])-?(?:{_NUMBER.pattern})", answer)]
        if numbers:
            yield any(_equal(value, abs(number) if value > 0 else number) for number in numbers)


def _stated(text: str) -> Iterator[bool]:
    for number, found in enumerate(_EQUATION.finditer(text)):
        if number == _MOST_CALCULATIONS:
            return
        before, end = text[max(0, found.start() - 3) : found.start()], found.start() + len(found[0].rstrip(" "))
        # "x^2 + 12 = 0" and "3x = 12y" are no calculations
        if _PART_BEFORE.search(before) or _PART_AFTER.match(text, end):
            continue
        sides = [side.strip(" ,.") for side in found[0].split("=")]
        if not re.search(r"[+*/]|\d -", sides[0]):
            continue
        values = [evaluate(side) for side in sides]
        for first, second in itertools.pairwise(values):
            if first is not None and second is not None:
                yield _equal(first, second)


def _equal(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=_RELATIVE, abs_tol=1e-9)

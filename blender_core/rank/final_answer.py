"""The short answer at the end of a worked solution, where a text states one plainly."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["final_answer"]

# the last statement of these forms counts, so that a corrected answer replaces an earlier one
_STATED = re.compile(
    r"(?i:\banswer\s*(?:is|:|=)\s*:?[ \t]*)|^[ \t]*#{2,}[ \t]*(?=-?[\d.])|^[ \t]*A[ \t]*:[ \t]*", re.MULTILINE
)
_LONGEST = 80
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
    plain = unicodedata.normalize("NFKC", text).replace("**", "")
    stated = [match.end() for match in _STATED.finditer(plain)]
    boxed = list(_BOXED.finditer(plain))
    if boxed and (not stated or boxed[-1].end() > stated[-1]):
        return _normal(boxed[-1].group("value"))
    if not stated:
        return None
    return _normal(plain[stated[-1] :].split("\n", 1)[0][:_LONGEST])


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
    folded = " ".join(re.sub(r"[^\w\s./+-]", "", value).lower().split())
    return folded or None

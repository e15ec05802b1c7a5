"""The short answer at the end of a worked solution, where a text states one plainly."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["final_answer"]

_VALUE = r"[*_`\"'(\[{$\\ ]*(?P<value>[^\n]{1,80})"
_STATED = (
    # the last statement of these forms counts, so that a corrected answer replaces an earlier one
    re.compile(r"(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is|:|=)\s*:?" + _VALUE, re.IGNORECASE),
    re.compile(r"^\s*#{2,}\s*(?P<value>-?[\d.,/]+)\s*$", re.MULTILINE),
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

    Example:
        >>> final_answer("2 + 2 is 4, so the answer is (C).")
        'c'
        >>> final_answer("Adding up:\n**Answer:** $1,200.00 in total")
        '1200'
        >>> final_answer("Autumn is a fine season.") is None
        True
    """
    plain = unicodedata.normalize("NFKC", text).replace("**", "")
    found = [match for pattern in _STATED for match in pattern.finditer(plain)]
    found += list(_BOXED.finditer(plain))
    if not found:
        return None
    last = max(found, key=lambda match: match.start("value"))
    boxed = _BOXED.search(last.group(0))
    return _normal(boxed.group("value") if boxed else last.group("value"))


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

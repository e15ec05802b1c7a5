"""Read which of two answers a judge's reply calls better."""

from __future__ import annotations

import re

__all__ = ["read_verdict"]

# a thought without an end is no verdict
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
# possessive here and below: giving white space or brackets back cannot help, and takes quadratic time; for the same
# reason a run of underscores is tried at its beginning alone
_MARKUP = re.compile(r"[*`\"'\u2018\u2019\u201c\u201d]+|\b_+|(?<!_)_++\b")
_CHOICE = r"[\[(<{]*+(?:(?:answer|response|candidate|assistant|option)[\s_]++)?[\[(<{]*+(?P<which>%s)\b[\])>}]*"
_A_OR_B = r"a|b|1|2|first|second"
_TIE_WORDS = r"tied?|draw|equal(?:ly good)?|same|both|neither|c"
# what a judge was told to write, and what others write: "Better: A", "Verdict: B", "winner is (A)", "[[B]]"
_STATED = re.compile(
    r"\b(?:better|best|verdict|winner|choice|preferred|preference|final answer|answer)\s*+(?:answer|response)?\s*+"
    r"(?:is|:|=|->)+\s*+(?:the\s++)?"
    + _CHOICE % f"{_A_OR_B}|{_TIE_WORDS}"
    # "is a better fit" speaks of no candidate
    + r"(?!\s+(?:better|good|bad|more|less|bit|little|clear)\b)",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\[\[\s*(?P<which>a|b|c|tie|1|2)\s*\]\]", re.IGNORECASE)
_ALONE = re.compile(
    r"^\W*(?:the\s+)?(?:(?:answer|response|candidate|assistant|option)[\s_]+)?"
    rf"(?P<which>{_A_OR_B}|{_TIE_WORDS})(?:\s+(?:answer|response|candidate))?\W*$",
    re.IGNORECASE,
)
_COMPARED = re.compile(
    r"\b(?:the\s+)?(?:(?:answer|response|candidate|assistant|option)\s+(?P<named>a|b|1|2)|(?P<letter>A|B)"
    r"|(?P<ordinal>(?i:first|second))\s+(?:answer|response|candidate|one))\s+"
    r"(?:is|was|seems|wins?|appears)\b(?:\s+to\s+be)?(?P<negated>\s+(?:not|no))?\s*(?:\w+ly\s+|much\s+|far\s+|the\s+)*"
    r"(?P<how>better|best|superior|preferable|preferred|winner|stronger|worse|inferior|weaker)?",
    re.IGNORECASE,
)
_WORSE = ("worse", "inferior", "weaker")
_EVEN = re.compile(
    r"\b(?:both|the two)\s++(?:answers?|responses?|candidates?)?\s*+(?:are|seem)\s+(?:\w+ly\s+)?(?:equal|good|"
    r"the same|correct|wrong|identical)|\bit(?: is|\W?s) a (?:tie|draw)\b"
    r"|\bneither\s++(?:answer|response)?\s*+is\s+better\b",
    re.IGNORECASE,
)


def read_verdict(reply: str) -> int | None:
    """Which answer a judge's reply calls better.

    A verdict that is stated (``Better: A``, ``[[B]]``) goes before one that is only described (``the second answer
    is better``); of several stated ones the last counts. Thoughts in ``<think>`` tags are left out.

    Args:
        reply: The judge's reply.

    Returns:
        1 for the first answer (A), -1 for the second (B), 0 for a tie, ``None`` where the reply says none of these
        or contradicts itself.

    Examples:
        >>> [read_verdict(reply) for reply in ("Better: A", "[[B]]", "It is a tie.", "Hm, A or B?")]
        [1, -1, 0, None]
    """
    text = _MARKUP.sub("", _THOUGHT.sub("", reply)).strip()
    stated = [(match.end(), match.group("which")) for match in (*_BRACKETED.finditer(text), *_STATED.finditer(text))]
    if stated:
        return _side(max(stated)[1])
    for line in (text, *(text.splitlines()[-1:]), *(text.splitlines()[:1])):
        alone = _ALONE.match(line)
        if alone:
            return _side(alone.group("which"))
    return _described(text)


def _described(text: str) -> int | None:
    sides: set[int] = set()
    for match in _COMPARED.finditer(text):
        how = (match.group("how") or ("winner" if "win" in match.group(0).lower() else "")).lower()
        if not how:
            continue
        side = _side(match.group("named") or match.group("letter") or match.group("ordinal"))
        if match.group("negated"):
            # "A is not better" leaves B and a tie open
            continue
        sides.add(-side if how in _WORSE else side)
    if _EVEN.search(text):
        sides.add(0)
    return sides.pop() if len(sides) == 1 else None


def _side(word: str) -> int:
    word = word.lower()
    if word in ("a", "1", "first"):
        return 1
    return -1 if word in ("b", "2", "second") else 0

"""Read what judges reply: a verdict on a pair, a ranking, a grade, and how sure the tokens are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blender_core.types.answer import Answer

__all__ = [
    "ReadRanking",
    "expected_grade",
    "expected_verdict",
    "read_grade",
    "read_ranking",
    "read_verdict",
]

# an unfinished thought is no verdict
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
# possessive here and below: backtracking into white space or brackets finds nothing and takes quadratic time; for the
# same reason a run of underscores is tried only at its start
_MARKUP = re.compile(r"[*`\"'\u2018\u2019\u201c\u201d]+|\b_+|(?<!_)_++\b")
_CHOICE = r"[\[(<{]*+(?:(?:answer|response|candidate|assistant|option)[\s_]++)?[\[(<{]*+(?P<which>%s)\b[\])>}]*+"
_A_OR_B = r"a|b|1|2|first|second"
_TIE_WORDS = r"tied?|draw|equal(?:ly good)?|same|both|neither|c"
# the requested form and common others: "Better: A", "Verdict: B", "winner is (A)", "[[B]]"
_STATED = re.compile(
    r"\b(?:better|best|verdict|winner|choice|preferred|preference|final answer|answer)\s*+(?:answer|response)?\s*+"
    r"(?:is|:|=|->)+\s*+(?:the\s++)?"
    + _CHOICE % f"{_A_OR_B}|{_TIE_WORDS}"
    # "is a better fit" names no candidate
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


# "A or B" chooses none
_BOTH = re.compile(
    rf"{_CHOICE.replace('(?P<which>', '(?:') % 'a|b|1|2'}[ \t]*+(?:\b(?:or|and|vs)\b\.?|[/&|])[ \t]*+"
    rf"{_CHOICE.replace('(?P<which>', '(?:') % 'a|b|1|2'}",
    re.IGNORECASE,
)


def read_verdict(reply: str) -> int | None:
    """Read which answer a judge's reply calls better.

    A stated verdict (``Better: A``, ``[[B]]``) takes precedence over a described one (``the second answer is better``).
    Of several stated verdicts the last counts. Thoughts in ``<think>`` tags are ignored.

    Args:
        reply: The judge's reply.

    Returns:
        1 for the first answer (A), -1 for the second (B), 0 for a tie. ``None`` if the reply holds no verdict or
        contradicts itself.

    Examples:
        >>> [read_verdict(reply) for reply in ("Better: A", "[[B]]", "It is a tie.", "Better: A or B")]
        [1, -1, 0, None]
    """
    text = _BOTH.sub(" ", _MARKUP.sub("", _THOUGHT.sub("", reply))).strip()
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


@dataclass(frozen=True, slots=True)
class ReadRanking:
    """Holds a ranking that a judge wrote.

    Attributes:
        groups: Labels, best first; labels of one group are equally good.
        reason: The judge's reason; empty if it gave none.
    """

    groups: tuple[tuple[str, ...], ...]
    reason: str = ""


# a label behind a word such as "answer", in brackets, or alone; the end of a word is none
_LABEL = (
    r"(?<![A-Za-z])[\[(<{]*+(?:(?:answer|response|candidate|option)[\s_]++)?[\[(<{]*+"
    r"(?P<label>[A-Z]{1,2})\b[\])>}]*+"
)
_CHAIN = re.compile(rf"{_LABEL}(?P<sign>\s*+[>=,]{{0,2}}+)", re.IGNORECASE)
_CHAIN_LINE = re.compile(
    rf"^\W*+(?:(?:ranking|order|final ranking|best to worst|verdict)\s*+(?:is|:|=)*+\s*+)?"
    rf"(?P<chain>{_LABEL.replace('(?P<label>', '(?:')}(?:\s*+[>=,]{{1,2}}+\s*+{_LABEL.replace('(?P<label>', '(?:')})++)"
    r"\W*$",
    re.IGNORECASE | re.MULTILINE,
)


def read_ranking(reply: str, labels: Sequence[str]) -> ReadRanking | None:
    """Read a ranking of labelled answers: JSON with ``"ranking"``, or a line such as ``B > A = C``.

    Of several rankings the last counts. Thoughts in ``<think>`` tags are ignored.

    Args:
        reply: The judge's reply.
        labels: The labels that it was shown.

    Returns:
        The ranking; labels that it leaves out share the last place. ``None`` if there is none, or if it names a label
        twice or one that does not exist.

    Examples:
        >>> read_ranking('{"reason": "[B] is right", "ranking": ["B", "A"]}', "ABC")
        ReadRanking(groups=(('B',), ('A',), ('C',)), reason='[B] is right')
        >>> read_ranking("Ranking: C > A = B", "ABC").groups
        (('C',), ('A', 'B'))
    """
    text = _THOUGHT.sub("", reply)
    stated = _stated(text, "ranking")
    if stated:
        groups = _groups(stated[-1]["ranking"])
        return None if groups is None else _checked(groups, labels, _reason(stated[-1]))
    if stated is None:
        return None
    lines = list(_CHAIN_LINE.finditer(_MARKUP.sub("", text)))
    if not lines:
        return None
    groups = _groups(lines[-1].group("chain"))
    return None if groups is None else _checked(groups, labels, "")


def _stated(text: str, key: str) -> list[dict[str, Any]] | None:
    """Find the JSON objects with a key; ``None`` if the key also stands outside of them.

    A judge that quotes an answer may forget to escape it. Then its own object is none, and the quoted one would count.
    """
    found = [stated for stated in _objects(text) if key in stated]
    named = len(re.findall(rf'(?<!\\)"{key}"\s*+:', text, re.IGNORECASE))
    return found if named <= len(found) else None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text, in order; at most 50 places are tried."""
    decoder, start = json.JSONDecoder(), 0
    for _ in range(50):
        start = text.find("{", start)
        if start < 0:
            return
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start += 1
            continue
        if isinstance(found, dict):
            yield {str(key).lower(): value for key, value in found.items()}
        start = end


def _groups(stated: Any) -> list[list[str]] | None:
    """The groups of labels in a list, a list of lists, or a text such as ``B > A = C``."""
    if isinstance(stated, str):
        groups: list[list[str]] = []
        joins = False
        for match in _CHAIN.finditer(stated):
            label = match.group("label").upper()
            groups.append([label]) if not joins or not groups else groups[-1].append(label)
            joins = "=" in match.group("sign")
        return groups or None
    if not isinstance(stated, list):
        return None
    parts = [_groups(part) if isinstance(part, str) else _tied(part) for part in stated]
    if not parts or any(part is None for part in parts):
        return None
    return [group for part in parts if part is not None for group in part]


def _tied(part: Any) -> list[list[str]] | None:
    if not isinstance(part, list) or not all(isinstance(label, str) for label in part):
        return None
    inner = [group for label in part for group in (_groups(label) or [[""]])]
    return [[label for group in inner for label in group]]


def _checked(groups: Sequence[Sequence[str]], labels: Sequence[str], reason: str) -> ReadRanking | None:
    named = [label for group in groups for label in group]
    if len(set(named)) != len(named) or not set(named) <= set(labels):
        return None
    left = tuple(label for label in labels if label not in named)
    return ReadRanking((*map(tuple, groups), *([left] if left else [])), reason)


def _reason(stated: Mapping[str, Any]) -> str:
    reason = stated.get("reason")
    return " ".join(reason.split()) if isinstance(reason, str) else ""


# a sign before it, decimals behind it, or a second number make it another grade, or none
_NUMBER = r"(?<![-.,\u2212\u2013])(?P<grade>\d{1,2})\b(?![.,]\d|\s*+(?:[-\u2212\u2013]|\bor\b|\bto\b)\s*+\d)"
_GRADE = re.compile(rf"\b(?:grade|score|rating)\W{{0,8}}+(?:(?:is|of)\s++)?{_NUMBER}", re.IGNORECASE)
_GRADE_ALONE = re.compile(rf"^\W*+{_NUMBER}(?:\s*+/\s*+(?:9|10))?\W*$")


def read_grade(reply: str, lowest: int, highest: int) -> tuple[int, str] | None:
    """Read a grade and its reason: JSON with ``"grade"``, ``Grade: 7``, or a number alone.

    Args:
        reply: The judge's reply.
        lowest: The worst grade.
        highest: The best grade.

    Returns:
        Grade and reason; ``None`` if there is no grade, or one out of range.

    Examples:
        >>> read_grade('{"reason": "right", "grade": 8}', 1, 9), read_grade("I give it eleven", 1, 9)
        ((8, 'right'), None)
    """
    text = _THOUGHT.sub("", reply).strip()
    grade: Any = None
    reason = ""
    stated = _stated(text, "grade")
    if stated is None:
        return None
    if stated:
        grade, reason = stated[-1]["grade"], _reason(stated[-1])
        if isinstance(grade, str) and grade.strip().isdecimal():
            grade = int(grade)
    else:
        plain = _MARKUP.sub("", text)
        found = [*_GRADE.finditer(plain)][-1:] or [match for match in [_GRADE_ALONE.match(plain)] if match]
        grade = int(found[0].group("grade")) if found else None
    if isinstance(grade, bool) or not isinstance(grade, int | float) or not lowest <= grade <= highest:
        return None
    return round(grade), reason


def expected_verdict(answer: Answer, verdict: int) -> float:
    """Soften a verdict by the probabilities of its token, if the answer holds them.

    Args:
        answer: The judge's answer.
        verdict: 1 for A, -1 for B, 0 for a tie, as it was read.

    Returns:
        The expected verdict, from -1 to 1; the verdict itself without probabilities.

    Examples:
        >>> likely = ((" A", {" A": math.log(0.6), " B": math.log(0.4)}),)
        >>> round(expected_verdict(Answer("Better: A", logprobs=likely), 1), 2)
        0.2
    """
    said = {1: "a", -1: "b", 0: "tie"}[verdict]
    for token, alternatives in reversed(answer.logprobs):
        if _plain(token) == said:
            values = {"a": 1.0, "b": -1.0, "tie": 0.0}
            return _expected({_plain(key): lp for key, lp in _merged(alternatives)}, values, float(verdict))
    return float(verdict)


def expected_grade(answer: Answer, grade: int, lowest: int, highest: int) -> float:
    """Average the grades by the probabilities of their tokens (G-Eval, Liu et al. 2023), if the answer holds them.

    Args:
        answer: The judge's answer.
        grade: The grade, as it was read.
        lowest: The worst grade.
        highest: The best grade.

    Returns:
        The expected grade; the grade itself without probabilities.
    """
    for token, alternatives in reversed(answer.logprobs):
        if _plain(token) == str(grade):
            values = {str(each): float(each) for each in range(lowest, highest + 1)}
            return _expected(dict(_merged(alternatives)), values, float(grade))
    return float(grade)


def _plain(token: str) -> str:
    return token.strip(" \t\n\"'*_[](){}<>:.,\u2581\u0120").lower()


def _merged(alternatives: Mapping[str, float]) -> list[tuple[str, float]]:
    """Add the probabilities of spellings of one token, such as with and without a space."""
    added: dict[str, float] = {}
    for token, logprob in alternatives.items():
        added[_plain(token)] = added.get(_plain(token), 0.0) + math.exp(min(0.0, logprob))
    return list(added.items())


def _expected(chances: Mapping[str, float], values: Mapping[str, float], read: float) -> float:
    known = {key: chance for key, chance in chances.items() if key in values}
    total = math.fsum(known.values())
    return math.fsum(values[key] * chance for key, chance in known.items()) / total if total > 0 else read

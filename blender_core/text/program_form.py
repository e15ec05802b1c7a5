"""Recognise answers that a program reads, by what was asked and by the answers' form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from blender_core.runtime.outside import read_json

__all__ = ["program_form"]

# a huge request must not block the event loop
_READ = 20_000
_FENCED = re.compile(r"```(?:json)?(.*?)```", re.DOTALL)
_XML = re.compile(r"\A<([A-Za-z][\w.-]*)[^<>]*>.*</\1>\Z", re.DOTALL)
# forms that no answer to a person has
_PATTERNS = {
    "an agent's step": re.compile(r"^[ \t]*(?:Thought|Action|Action Input)[ \t]*:", re.MULTILINE),
    # a number in double brackets inside a text is a reference
    "a verdict": re.compile(
        r"\[\[[A-Z]\]\]|(?i:rating|score|verdict)\W{1,3}\[\[|\A\W*\[\[\w+\]\]\W*\Z|\A\W*(?i:yes|no|true|false|pass|fail)\W*\Z|\A\s*(?:YES|NO)\b"
    ),
    "a database query": re.compile(
        r"\A\s*(?:SELECT\b.*\bFROM|WITH\b.*\bSELECT|INSERT INTO|DELETE FROM|UPDATE\b.*\bSET"
        r"|(?:OPTIONAL )?MATCH\s*\(.*\bRETURN)\b",
        re.DOTALL,
    ),
    "a score": re.compile(r"\A\s*\d+(?:\.\d+)?[ \t]*\n|\[RESULT\]"),
    "a ranking": re.compile(r"^Doc: ?\d+, Relevance: ?\d+|\[\d+\] ?> ?\[\d+\]", re.MULTILINE),
    "a labelled value": re.compile(r"^(?:ANSWER|JSONPath|KEYWORDS|SQLQuery|SYNONYMS):", re.MULTILINE),
}

# how a prompt asks for a form that a program reads
_ASKED = re.compile(
    "|".join(
        (
            # one on each line, each item on a new line, in one line
            r"\b(?:one|each|every|per|own|new|separate|single)\b[^.\n]{0,30}?\blines?\b",
            r"\b(?:separated|delimited) (?:by|with)\b",
            r"\b(?:comma|newline|new-line|line|semicolon|pipe|tab|space)[- ](?:separated|delimited)\b",
            r"\bin the form of\b|\bin (?:the|this|a|an)(?: [\w-]+){0,3}? format\b|\bformat(?:ted)? as\b",
            r"\b(?:following|this|exact|same)(?: [\w-]+){0,2} format\b",
            r"\b(?:response|reply|output|answer) (?:should|must) (?:be|contain|have|follow)\b",
            r"\b(?:output|return|respond|reply|write|provide|give|print)(?: \w+){0,3}? (?:only|just|nothing but)\b",
            r"\b(?:only|just) (?:output|return|respond|reply|answer with|write|provide|give|print|list)\b",
            r"\bnothing else\b",
            r"\b(?:no|without(?: any)?) (?:other |additional |extra |further )?"
            r"(?:text|explanations?|commentary|comments|numbering|preamble)\b",
            r"\bnumbered list of\b",
        )
    ),
    re.IGNORECASE,
)

_NUMBERED = re.compile(r"\(?\d{1,3}[.):]\s+")
_BULLET = re.compile(r"[-*+\u2022\u2013]\s+")
_TUPLE = re.compile(r"[(\[<][^()\[\]]*,[^()\[\]]*[)\]>],?")
_KEY_VALUE = re.compile(r"[\w][\w ./'-]{0,40}:(?!//)\s*\S")
_LABEL = re.compile(r"^[ \t]*([A-Z][\w ]{0,30}):", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!,;:\u3002\uff0c\u2026\"\u201d]\Z")
_TWO_SENTENCES = re.compile(r"[.!?]\s+\S")
_EXPLAINED = re.compile(r"\A[^:]{2,60}(?::| [-\u2013\u2014]) \S")
_MOST_WORDS = 20
_MOST_WORDS_ASKED = 40


def program_form(request: str, answers: Sequence[str]) -> str | None:
    r"""Recognise answers that a program reads.

    JSON, XML, an agent's step, a verdict, a score, a ranking and a labelled value show it by themselves. A list of
    equal lines, of ``Key: value``, of tuples, of values in one line, and of numbered or bulleted one-liners shows it
    if the request asks for such a form, or if more than half of the answers have one.

    Args:
        request: What was asked, with the instructions.
        answers: The answers, best first.

    Returns:
        The form of the best answer in words; ``None`` if a person reads it.

    Examples:
        >>> program_form("Questions:", ["Who?\nWhere?", "What is it?\nWho made it?"])
        'a list of equal lines'
        >>> program_form("How do I boil rice?", ["1. Boil water\n2. Add rice", "Rinse it. Then boil it."]) is None
        True
        >>> program_form("Steps, one per line.", ["1. Boil water\n2. Add rice", "Rinse it. Then boil it."])
        'a numbered list'
    """
    best = answers[0].strip()
    own = _own_form(best)
    if own is not None:
        return own
    # instructions stand at the start or at the end
    if _ASKED.search(request[:_READ]) or _ASKED.search(request[-_READ:]):
        return _asked_list(best) or _asked_label(request, best)
    form = _bare_list(_lines(best))
    others = (_lines(answer) for answer in answers[1:])
    alike = sum(_bare_list(_without_frame(lines)) is not None for lines in others)
    return form if form and 2 * (1 + alike) > len(answers) else None


def _own_form(text: str) -> str | None:
    fenced = _FENCED.search(text)
    # parsers take an object out of the text around it
    inside = text[text.find("{") : text.rfind("}") + 1]
    if (
        any(_is_json(part) for part in (text, *(fenced.groups() if fenced else ())))
        or (inside != "{}" and _is_json(inside))
        or (text.startswith("{") and all(map(_is_json, text.splitlines())))
    ):
        return "JSON"
    if _XML.match(text):
        return "XML"
    return next((name for name, pattern in _PATTERNS.items() if pattern.search(text)), None)


def _is_json(text: str) -> bool:
    stripped = text.strip()
    if stripped[:1] not in ("{", "["):
        return False
    try:
        read_json(stripped)
    except ValueError:
        return False
    return True


def _asked_list(text: str) -> str | None:
    """Return the form of a list that was asked for."""
    lines = _without_frame(_lines(text))
    if any(len(line.split()) > _MOST_WORDS_ASKED for line in lines):
        return None
    # weak models add a remark
    return _kind(lines, least=1) or (_kind(lines[:-1], least=2) if len(lines) > 2 else None)


def _asked_label(request: str, text: str) -> str | None:
    """Return the label of a value, if the request has it too."""
    asked = {match[1] for part in (request[:_READ], request[-_READ:]) for match in _LABEL.finditer(part)}
    found = next((match[1] for match in _LABEL.finditer(text) if match[1] in asked), None)
    return found and f"an answer with the label {found!r} that was asked for"


def _bare_list(lines: Sequence[str]) -> str | None:
    """Return the form of a list without explanations."""
    items = [_item(line) for line in lines]
    if any(len(item.split()) > _MOST_WORDS or "**" in item or _TWO_SENTENCES.search(item) for item in items):
        return None
    kind = _kind(lines, least=2)
    if kind in ("a numbered list", "a bulleted list") and any(map(_EXPLAINED.match, items)):
        return None
    return kind


def _without_frame(lines: list[str]) -> list[str]:
    """Leave out a line that announces the list, and a mark at its end."""
    if len(lines) > 2 and lines[0].endswith(":"):
        lines = lines[1:]
    return lines[:-1] if len(lines) > 2 and lines[-1].startswith("<") else lines


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _item(line: str) -> str:
    marker = _NUMBERED.match(line) or _BULLET.match(line)
    return line[marker.end() :] if marker else line


def _kind(lines: Sequence[str], *, least: int) -> str | None:
    values = _values(lines)
    if values is not None:
        return values
    if len(lines) < least:
        return None
    kinds: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("a numbered list", _NUMBERED.match),
        ("a bulleted list", _BULLET.match),
        ("a list of tuples", _TUPLE.fullmatch),
        ("a list of Key: value", _KEY_VALUE.match),
        ("a list of equal lines", lambda line: not _SENTENCE_END.search(line) and not _TWO_SENTENCES.search(line)),
    )
    kind = next((name for name, fits in kinds if all(map(fits, lines))), None)
    return "one bare line" if len(lines) == 1 and kind == "a list of equal lines" else kind


def _values(lines: Sequence[str]) -> str | None:
    """Recognise values in one line, between commas or other marks."""
    if len(lines) != 1 or _SENTENCE_END.search(lines[0]):
        return None
    for mark in ",;|^":
        values = lines[0].split(mark)
        if len(values) > 2 and all(0 < len(value.split()) <= 4 for value in values):
            return None if re.match(r"\s*(?:and|or)\b", values[-1]) else "a list of values"
    return None

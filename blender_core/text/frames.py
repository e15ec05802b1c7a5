"""Keep untrusted texts inside the tags that frame them in a prompt, look-alikes of the tags included."""

from __future__ import annotations

import re
import unicodedata

from blender_core.text.control_markers import neutralise

__all__ = ["Frame"]

# stands for a character that is not seen; each keeps its place
_UNSEEN = "\u200b"
# letters that fill a line with nothing
_FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0")
# letters and signs that are drawn like those of a tag and have no decomposition that says so
_DRAWN_ALIKE = {
    "a": "\u0430\u03b1\u0251\uab7a\u13aa\ua4ee",
    "b": "\u0184\u042c\u044c\u13cf\u13f4\ua4d0",
    "c": "\u0441\u03f2\u1d04\u2ca5\u13df\ua4da",
    "d": "\u0501\u13e7\u146f\u13a0\ua4d3",
    "e": "\u0435\u04bd\u212e\u0454\u0395\u13ac\ua4f0",
    "i": "\u0456\u03b9\u0131\u04cf\u2170\u2223|\ua4f2",
    "n": "\u0578\u057c\u0438\u03b7\u043f\u039d\ua4e0",
    "o": "\u043e\u03bf\u0585\u0ed0\u1d0f\u2c9f0\ua4f3",
    "q": "\u051b\u0563\u0566",
    "r": "\u0433\u1d26\u2c85\uab47\u13a1\u13d2\ua4e3",
    "s": "\u0455\ua731\uabaa\u017f\u13da\ua4e2",
    "t": "\u0442\u03c4\u1d1b\u13a2\ua4d4",
    "u": "\u03c5\u057d\u1d1c\u028b\u0446\ua4f4",
    "w": "\u051d\u0461\u1d21\u026f\u0561\u13b3\u13d4\ua4ea",
    "<": "\u2039\u2329\u276e\u27e8\u3008\u300a\u00ab\u02c2\u1438\u16b2\u227a\u276c\u2770\ufe64\u2264\u22d6\u27ea\u29fc",
    "/": "\u2044\u2215\u2571\u29f8\u27cb\u3033\u4e3f\u1735\u2afd\\",
    "_": "\u02cd\u203f\u2017\ufe33\ufe4d\ufe4e\ufe4f",
}
# small capitals, letters of flags and letters in dark squares and circles have none either, but a name
_LETTER_NAME = re.compile(
    "(?:LATIN LETTER SMALL CAPITAL|REGIONAL INDICATOR SYMBOL LETTER|NEGATIVE (?:SQUARED|CIRCLED) LATIN CAPITAL LETTER)"
    " ([A-Z])$"
)
_SHOWN = {other: letter for letter, others in _DRAWN_ALIKE.items() for other in others}


class _Looks(dict[int, str]):
    """Code point -> the one character that it looks like; filled as characters come."""

    def __missing__(self, code: int) -> str:
        shown = self[code] = _look(chr(code))
        return shown


def _look(character: str) -> str:
    if character in _FILLERS or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return _UNSEEN
    named = _LETTER_NAME.match(unicodedata.name(character, ""))
    if named is not None:
        return named[1].lower()
    # full-width, mathematical, circled and accented letters
    base = unicodedata.normalize("NFKD", character)[0].lower()[0]
    forms = (character, character.lower()[0], character.upper()[0], base)
    return next((_SHOWN[form] for form in forms if form in _SHOWN), base)


_looks = _Looks()


class Frame:
    """Knows the tags of a prompt, and escapes texts that stand between them.

    Args:
        *tags: Names of the tags.

    Examples:
        >>> frame = Frame("answer", "request")
        >>> frame.escape("right</answer><request>")
        'right< /answer>< request>'
        >>> frame.escape("right\uff1c/ans\u200bwer>") == "right\uff1c /ans\u200bwer>"
        True
    """

    def __init__(self, *tags: str) -> None:
        # possessive: backtracking over white space cannot help, and takes quadratic time
        names = "|".join(f"{_UNSEEN}*+".join(map(re.escape, tag)) for tag in sorted(tags, key=len, reverse=True))
        self._tag = re.compile(rf"<\s*+(?=[\s{_UNSEEN}]*+/?[\s{_UNSEEN}]*+(?:{names})\b)", re.IGNORECASE)

    def escape(self, text: str) -> str:
        """Break up the tags in a text, and control markers; both stay readable.

        Args:
            text: Any text.

        Returns:
            The text with one space behind the opening bracket of each tag, or of what looks like one.
        """
        text = neutralise(text)
        pieces, start = [], 0
        # a zero is an o, and a bar an i, only in a tag: the text itself is not changed
        for found in self._tag.finditer(text.translate(_looks)):
            pieces.append(text[start : found.start() + 1])
            start = found.end()
        return " ".join([*pieces, text[start:]])

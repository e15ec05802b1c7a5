"""Neutralise control markers of tokenizers and chat templates in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from blender_core.text.unicode import without_surrogates

__all__ = ["ControlTokens", "neutralise"]

# <|source|>, <|im_start|>, <s>, </s>, <pad>, <extra_id_0>, <start_of_turn>, <<SYS>>, [SEP], [INST], [/INST], [MASK]
_MARKER = re.compile(
    r"<\|(?=\S)[^<>|\n]{1,60}(?<=\S)\|>"
    r"|\[\|[^\]|\n]{1,40}\|\]"
    r"|<\uff5c[^<>\n]{1,40}\uff5c>"
    r"|<</?SYS>>"
    r"|</?(?:s|bos|eos|pad|unk|mask|cls|sep|start_of_turn|end_of_turn|(?:start|end)_of_image|image_soft_token"
    r"|extra_id_\d{1,3}|unused\d{1,4}|think|tool_call|tool_response"
    # those of StarCoder, which SmolLM2 and others have
    r"|repo_?name|filename|file_sep|gh_stars|empty_output|issue_(?:start|comment|closed)"
    r"|jupyter_(?:start|text|code|output|script)|fim_(?:prefix|middle|suffix|pad)|commit_(?:before|msg|after))>"
    r"|\[/?(?:SEP|CLS|MASK|PAD|UNK|BOS|EOS|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)


def neutralise(text: str) -> str:
    """Break up control markers so that they are read as text.

    A space is put after the opening bracket. Then no tokenizer matches the marker, and a reader still recognises it.
    A lone surrogate becomes a question mark, because no model can be sent one. All other text is kept.

    Args:
        text: A prompt or a candidate.

    Returns:
        The text without live markers. Text without markers is returned unchanged.

    Examples:
        >>> neutralise("ok [SEP] <|candidate1|> </s> a < b")
        'ok [ SEP] < |candidate1|> < /s> a < b'
    """
    text = without_surrogates(text)
    previous = None
    # a nested marker such as <<|x|>> may surface after the first pass
    while previous != text:
        previous, text = text, _MARKER.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text


class ControlTokens:
    r"""Breaks up the control tokens of one model, by its own list.

    Args:
        tokens: Control tokens, any number. Those of one character and of white space are left out: they stand in any
            text.

    Examples:
        >>> tokens = ControlTokens(["<file_sep>", "\n\n"])
        >>> tokens.neutralise("a <file_sep> b")
        'a < file_sep> b'
        >>> bool(ControlTokens([]))
        False
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        # SentencePiece writes a space as U+2581
        self._tokens = frozenset(token for token in tokens if len(token.strip(" \t\n\r\u2581")) > 1)
        self._lengths = sorted({len(token) for token in self._tokens}, reverse=True)
        begins = sorted({token[:2] for token in self._tokens})
        self._first = re.compile("|".join(f"{re.escape(one[0])}(?={re.escape(one[1])})" for one in begins) or "(?!)")

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def neutralise(self, text: str) -> str:
        """Put a space behind the first character of each token.

        Args:
            text: Any text.

        Returns:
            The text; unchanged if it holds no token.
        """
        previous = None
        # a token may surface when one inside it is broken up
        while previous != text:
            previous, text = text, self._first.sub(self._broken, text)
        return text

    def _broken(self, match: re.Match[str]) -> str:
        text, start = match.string, match.start()
        # a vocabulary may have thousands of them, so they are looked up, not searched for
        if any(text[start : start + length] in self._tokens for length in self._lengths):
            return f"{match[0]} "
        return match[0]

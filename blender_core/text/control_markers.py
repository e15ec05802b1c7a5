"""Neutralise control markers of tokenizers and chat templates in a text."""

from __future__ import annotations

import re

from blender_core.text.unicode import without_surrogates

__all__ = ["neutralise"]

# <|source|>, <|im_start|>, <s>, </s>, <pad>, <extra_id_0>, <start_of_turn>, <<SYS>>, [SEP], [INST], [/INST], [MASK]
_MARKER = re.compile(
    r"<\|(?=\S)[^<>|\n]{1,60}(?<=\S)\|>"
    r"|\[\|[^\]|\n]{1,40}\|\]"
    r"|<\uff5c[^<>\n]{1,40}\uff5c>"
    r"|<</?SYS>>"
    r"|</?(?:s|bos|eos|pad|unk|mask|cls|sep|start_of_turn|end_of_turn|extra_id_\d{1,3})>"
    r"|\[/?(?:SEP|CLS|MASK|PAD|UNK|BOS|EOS|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)


def neutralise(text: str, marker: re.Pattern[str] = _MARKER) -> str:
    """Break up control markers so that they are read as text.

    A space is put after the opening bracket. Then no tokenizer matches the marker, and a reader still recognises it.
    A lone surrogate becomes a question mark, because no model can be sent one. All other text is kept.

    Args:
        text: A prompt or a candidate.
        marker: What a marker looks like; default those of common tokenizers and templates.

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
        previous, text = text, marker.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text

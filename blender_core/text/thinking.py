"""Separate a model's ``<think>`` blocks from its answer."""

from __future__ import annotations

import re
import string

__all__ = ["ThinkingFilter", "split_thinking"]

_TAGS = ("<think>", "<thinking>")
# ASCII: without it a dotted capital I (U+0130) counts as an "i"
_BLOCK = re.compile(r"\s*<((?ai:think|thinking))>(.*?)(?:</(?ai:\1)>|\Z)", re.DOTALL)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_CLOSING = {tag: re.compile(f"</{tag[1:]}", re.IGNORECASE | re.ASCII) for tag in _TAGS}
# some chat templates open the block, so that the model's text only closes it, on a separate line
_UNOPENED = re.compile(
    r"\A((?:(?!<think).)*?)^[ \t]*</think(?:ing)?>[ \t]*$", re.DOTALL | re.IGNORECASE | re.MULTILINE | re.ASCII
)


def split_thinking(text: str) -> tuple[str, str]:
    r"""Separate thinking from the answer.

    Args:
        text: A model's text.

    Returns:
        The thinking, and the answer. Thinking is a ``<think>`` or ``<thinking>`` block at the start of the text,
        closed or not. So is all text above a closing tag that is alone on its line. Tags later in the text are part
        of the answer.

    Examples:
        >>> split_thinking("<think>Rayleigh...</think>\nBecause of scattering.")
        ('Rayleigh...', 'Because of scattering.')
        >>> split_thinking("The tag <think> opens a block.")
        ('', 'The tag <think> opens a block.')
    """
    thoughts = []
    place = 0
    while (block := _BLOCK.match(text, place)) is not None:
        thoughts.append(block[2].strip())
        place = block.end()
    if not thoughts and (block := _UNOPENED.match(text)) is not None:
        thoughts.append(block[1].strip())
        place = block.end()
    return ("\n\n".join(filter(None, thoughts)), text[place:].lstrip()) if thoughts else ("", text)


class ThinkingFilter:
    r"""Removes ``<think>`` blocks at the start of one stream.

    A block without an opening tag is recognised too late, and stays.

    Examples:
        >>> stream = ThinkingFilter()
        >>> [stream.take(piece) for piece in ("<thi", "nk>hm</think>", "\n\nBecause", " of")] + [stream.rest()]
        ['', '', 'Because', ' of', '']
    """

    def __init__(self) -> None:
        self._pending = ""
        # opening tag of the current block
        self._opening = ""
        self._thought = False
        self._through = False

    def take(self, text: str) -> str:
        """Take a piece; return the text that can be sent now."""
        if self._through:
            return text
        self._pending += text
        while True:
            if self._opening:
                closed = _CLOSING[self._opening].search(self._pending)
                if closed is None:
                    self._pending = self._pending[-len(self._opening) :]
                    return ""
                self._pending = self._pending[closed.end() :]
                self._opening = ""
            start = self._pending.lstrip()[: len(_TAGS[1])].translate(_LOWER)
            opened = next((tag for tag in _TAGS if start.startswith(tag)), None)
            if opened is not None:
                self._pending = self._pending.lstrip()[len(opened) :]
                self._opening, self._thought = opened, True
            elif any(tag.startswith(start) for tag in _TAGS):
                return ""
            else:
                self._through = True
                return self._rest()

    def rest(self) -> str:
        """Return the text that was held back and belongs to the answer."""
        return "" if self._opening else self._rest()

    def _rest(self) -> str:
        rest, self._pending = self._pending, ""
        return rest.lstrip() if self._thought else rest

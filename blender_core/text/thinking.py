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
    r"""Separates the ``<think>`` blocks at the start of one stream from its text.

    A block without an opening tag is recognised too late, and stays in the text.

    Examples:
        >>> stream = ThinkingFilter()
        >>> [stream.take(piece) for piece in ("<thi", "nk>Rayleigh, of course", "...</think>", "\n\nBecause")]
        [('', ''), ('Rayleigh, of', ''), (' course...', ''), ('', 'Because')]
        >>> stream.rest()
        ('', '')
    """

    def __init__(self) -> None:
        self._pending = ""
        # opening tag of the current block
        self._opening = ""
        self._thought = False
        self._through = False
        # stands before the next thought; white space around thoughts is none of theirs
        self._gap = ""
        self._blank = True

    def take(self, text: str) -> tuple[str, str]:
        """Take a piece; return the thoughts and the text that can be sent now."""
        if self._through:
            return "", text
        self._pending += text
        thoughts = ""
        while True:
            if self._opening:
                closed = _CLOSING[self._opening].search(self._pending)
                if closed is None:
                    # the end may be the beginning of the closing tag
                    sure = max(0, len(self._pending) - len(self._opening))
                    thoughts += self._shown(self._pending[:sure])
                    self._pending = self._pending[sure:]
                    return thoughts, ""
                thoughts += self._shown(self._pending[: closed.start()])
                self._pending = self._pending[closed.end() :]
                self._opening, self._blank = "", True
            start = self._pending.lstrip()[: len(_TAGS[1])].translate(_LOWER)
            opened = next((tag for tag in _TAGS if start.startswith(tag)), None)
            if opened is not None:
                self._pending = self._pending.lstrip()[len(opened) :]
                self._opening, self._thought = opened, True
            elif any(tag.startswith(start) for tag in _TAGS):
                return thoughts, ""
            else:
                self._through = True
                return thoughts, self._rest()

    def rest(self) -> tuple[str, str]:
        """Return the thoughts and the text that were held back."""
        return (self._shown(self._pending), "") if self._opening else ("", self._rest())

    def _shown(self, thought: str) -> str:
        """The thought as it goes on after those that were shown."""
        if self._blank:
            thought = thought.lstrip()
            thought = f"{self._gap}{thought}" if thought else ""
        if thought:
            self._gap, self._blank = "\n\n", False
        return thought

    def _rest(self) -> str:
        rest, self._pending = self._pending, ""
        return rest.lstrip() if self._thought else rest

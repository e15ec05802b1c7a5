"""The token ids of a text, without stopping other threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["token_ids"]

# encoded in a few milliseconds
_SHORT_CHARACTERS = 10_000


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode a text, without adding anything.

    Args:
        tokenizer: The tokenizer.
        text: Any text that can be written as UTF-8.

    Returns:
        The ids.
    """
    if len(text) <= _SHORT_CHARACTERS:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)
    # gives the same, but ``encode`` holds the interpreter's lock to its end, and with it every event loop
    return list(tokenizer.encode_batch([text], add_special_tokens=False)[0].ids)

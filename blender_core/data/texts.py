"""Texts of records: what can be asked, and written as UTF-8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blender_core.errors import ConfigurationError

__all__ = ["joined_prompt", "prompt_text", "without_surrogates"]


def prompt_text(data: Mapping[str, Any]) -> str:
    """The instruction of a decoded line that can be asked and written.

    Args:
        data: The line.

    Returns:
        The instruction.

    Raises:
        ConfigurationError: It is no text, or half a character stands anywhere outside of the candidates.
        KeyError: There is none.
    """
    instruction = data["instruction"]
    if not isinstance(instruction, str):
        raise ConfigurationError(f"the instruction is {json.dumps(instruction, default=str)}; it must be a text")
    asked = {name: value for name, value in data.items() if name != "candidates"}
    try:
        json.dumps(asked, ensure_ascii=False, default=str, skipkeys=True).encode("utf-8")
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.start + 1]
        raise ConfigurationError(f"half a character, the lone surrogate {half!a}; remove it") from error
    return instruction


def without_surrogates(text: str) -> str:
    r"""A text that can be written as UTF-8.

    Args:
        text: Any text.

    Returns:
        The text with ``?`` for each lone surrogate.

    Examples:
        >>> without_surrogates("half a smile: \ud83d")
        'half a smile: ?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def joined_prompt(instruction: str, input: str = "") -> str:
    r"""Instruction and input as one prompt.

    Args:
        instruction: What is asked.
        input: What it is asked about, may be ``""``.

    Returns:
        Both with a line break between them, or the one that is there.

    Examples:
        >>> joined_prompt("Translate to French.", "cat")
        'Translate to French.\ncat'
    """
    return "\n".join(part for part in (instruction, input) if part.strip())

"""Counting tokens without a download."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately

__all__ = ["TokenIds", "count_messages", "count_text", "counters_of"]

TokenIds = Callable[[str], list[int]]
_CHARACTERS_PER_TOKEN = 4


def counters_of(models: Sequence[Any]) -> list[TokenIds]:
    """Tokenizers that users gave to models; a model's built-in count may want the network and is not used.

    Args:
        models: Models, of any kind.

    Returns:
        The ``custom_get_token_ids`` of those that have one.
    """
    custom = (getattr(model, "custom_get_token_ids", None) for model in models)
    return [counter for counter in custom if callable(counter)]


def count_text(text: str, counters: Sequence[TokenIds]) -> int:
    """Tokens in a text: the largest of the counters' counts, else four characters a token.

    Args:
        text: Any text.
        counters: Tokenizers.

    Returns:
        The count.

    Examples:
        >>> count_text("four", []), count_text("four", [lambda text: [1, 2]])
        (1, 2)
    """
    if counters:
        return max(len(counter(text)) for counter in counters)
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def count_messages(messages: Sequence[BaseMessage], tools: Sequence[Any], counters: Sequence[TokenIds]) -> int:
    """Tokens in a conversation, with a few for each message's frame.

    Args:
        messages: The conversation.
        tools: Tools in the OpenAI form.
        counters: Tokenizers.

    Returns:
        The count.
    """
    described = sum(count_text(json.dumps(tool, default=str), counters) for tool in tools)
    if not counters:
        return count_tokens_approximately(list(messages)) + described
    frame = 3
    return sum(count_text(str(message.text), counters) + frame for message in messages) + described

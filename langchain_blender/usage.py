"""Count tokens: sum the usage that models report, and estimate without the network."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, LLMResult

from blender_core.types.answer import Answer, Usage
from langchain_blender.messages import usage_of

__all__ = [
    "TokenIds",
    "UsageCounter",
    "count_messages",
    "count_text",
    "counters_of",
]


class UsageCounter(BaseCallbackHandler):
    """Sums the usage of the model calls of one run; made for one run.

    A blend among the models counts once, by its sum, unless its ``trace_candidates`` is ``"all"``.

    Examples:
        >>> counter = UsageCounter()
        >>> counter.applied(Answer("Hi")).usage is None
        True
    """

    # otherwise an asynchronous run may end before this is called
    run_inline = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usage: Usage | None = None
        self._cost: float | None = None

    @property
    def usage(self) -> Usage | None:
        """The sum so far; ``None`` if no call reported its usage."""
        with self._lock:
            return self._usage

    @property
    def ignore_chat_model(self) -> bool:
        """Always ``True``: only the ends of calls count."""
        return True

    def on_llm_end(self, response: LLMResult, **_kwargs: Any) -> None:
        """Add the usage of a model's call."""
        for generations in response.generations:
            generation = generations[0] if generations else None
            if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
                continue
            usage, cost = usage_of(generation.message)
            with self._lock:
                if usage is not None:
                    self._usage = (self._usage or Usage()) + usage
                if cost is not None:
                    self._cost = (self._cost or 0.0) + cost

    def applied(self, answer: Answer) -> Answer:
        """Return the answer with the usage of all calls.

        Args:
            answer: The answer of the run.

        Returns:
            A copy with the sum; the answer itself if no call reported its usage.
        """
        with self._lock:
            if self._usage is None:
                return answer
            return replace(answer, usage=self._usage, cost=self._cost)


TokenIds = Callable[[str], list[int]]
"""A tokenizer: from a text to its token ids."""
_CHARACTERS_PER_TOKEN = 4


def counters_of(models: Sequence[Any]) -> list[TokenIds]:
    """Return the tokenizers that users gave to models.

    A model's built-in count is not used, because it may need the network.

    Args:
        models: Models of any kind.

    Returns:
        The ``custom_get_token_ids`` of the models that have one.
    """
    custom = (getattr(model, "custom_get_token_ids", None) for model in models)
    return [counter for counter in custom if callable(counter)]


def count_text(text: str, counters: Sequence[TokenIds]) -> int:
    """Count the tokens of a text: the largest of all counts, else four characters a token.

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
    """Count the tokens of a conversation, with three for the frame of each message.

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

"""Tokens of a member that makes several model calls: a chain, an agent."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from blender_core.types.answer import Answer, Usage
from langchain_blender.messages import usage_of

__all__ = ["UsageCounter"]


class UsageCounter(BaseCallbackHandler):
    """Adds up what the model calls of one run used. Made for one run.

    A blend among the models counts once, with its sum, as long as its ``trace_candidates`` is not ``"all"``.

    Examples:
        >>> counter = UsageCounter()
        >>> counter.applied(Answer("Hi")).usage is None
        True
    """

    # in asynchronous runs, too: before the run's result is there
    run_inline = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usage: Usage | None = None
        self._cost: float | None = None

    @property
    def ignore_chat_model(self) -> bool:
        """Starts are of no interest."""
        return True

    def on_llm_end(self, response: LLMResult, **_kwargs: Any) -> None:
        """Add a model's call."""
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
        """The answer with the sum of all calls.

        Args:
            answer: What came out of the run.

        Returns:
            A copy; the answer's own usage stays where no call said what it used.
        """
        with self._lock:
            if self._usage is None:
                return answer
            return replace(answer, usage=self._usage, cost=self._cost)

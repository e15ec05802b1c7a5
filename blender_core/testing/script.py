"""Follow a script of answers, latency and faults; all test doubles use this."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = ["RecordedCall", "Script", "words"]

Call = TypeVar("Call")
MessageType = TypeVar("MessageType")


# no slots: a frozen class with slots cannot be made through `RecordedCall[Message](...)`
@dataclass(frozen=True)
class RecordedCall(Generic[MessageType]):
    """One call that a scripted model got.

    Attributes:
        messages: The conversation.
        options: Call options, ``stop`` and ``tools`` among them.
        streamed: Whether it was asked to stream.
    """

    messages: tuple[MessageType, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    streamed: bool = False

    @property
    def text(self) -> str:
        """Text of the last message."""
        last: Any = self.messages[-1]
        return str(last.content or "") if hasattr(last, "blocks") else str(last.text)


class Script(Generic[Call]):
    """Play one step for each call, and record the calls.

    Several threads and event loops may use it. A pickle or a deep copy keeps the calls.

    Attributes:
        calls: Every call so far, in order.
        cancelled: How many asynchronous calls were cancelled while they waited.

    Examples:
        >>> script = Script()
        >>> [script.take(question, ["yes", "no"]) for question in ("first", "second", "third")]
        ['yes', 'no', 'no']
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.cancelled = 0
        self._lock = threading.Lock()

    def take(self, call: Call, steps: Sequence[Any]) -> Any:
        """Record a call and return its step.

        Args:
            call: The call.
            steps: Steps in order; the last one repeats.

        Returns:
            The step; ``None`` if there are no steps.
        """
        with self._lock:
            self.calls.append(call)
            return steps[min(len(self.calls), len(steps)) - 1] if steps else None

    def wait(self, latency_s: float, hang: bool) -> None:
        """Block for the latency in seconds; for ever if it hangs."""
        if hang:
            threading.Event().wait()
        time.sleep(latency_s)

    async def wait_async(self, latency_s: float, hang: bool, *, stubborn: bool = False) -> None:
        """Wait on the event loop; see ``wait``.

        Args:
            latency_s: Seconds.
            hang: Never return.
            stubborn: Ignore one cancellation, and wait for the latency again.
        """
        try:
            if hang:
                await asyncio.Event().wait()
            await asyncio.sleep(latency_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            if not stubborn:
                raise
            await asyncio.sleep(latency_s)

    def play(self, step: Any, call: Call) -> Any:
        """Raise the step, call it with the call, or return it.

        Args:
            step: An exception, a function of the call, or an answer.
            call: The call.

        Returns:
            The answer.
        """
        if isinstance(step, BaseException):
            raise step
        return step(call) if callable(step) else step

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def words(text: str) -> list[str]:
    """Split a text into words with the space behind each; joined they are the text again."""
    return text.replace(" ", " \0").split("\0") if text else []

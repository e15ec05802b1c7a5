"""Define the member: one LLM of the ensemble, of any framework."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from blender_core.errors import ConfigurationError, UnsupportedError
from blender_core.events import Thought
from blender_core.runtime.closed_loops import past_closed_loops
from blender_core.runtime.keywords import check_keywords
from blender_core.runtime.threads import call_in_thread, run_sync
from blender_core.types.answer import Answer, Price
from blender_core.types.prompt import Prompt, unreadable

__all__ = ["FunctionMember", "Member", "check_options"]


class Member:
    """Answers prompts as one LLM of an ensemble.

    Write ``generate``, ``agenerate`` or both; the missing one calls the other. Errors that they raise are recorded
    in the member's outcome. Raise ``RateLimitedError``, ``RefusedError`` or ``MemberTimeoutError`` if one fits. A
    ``MemberError`` whose ``may_pass`` is true is retried. A provider's exceptions are classified too (see
    ``blender_core.members.classify``).
    Members do not retry: the engine has the only retry loop.

    Args:
        name: Shown in results; made unique inside an ensemble.
        price: Price of its tokens, if cost matters.

    Attributes:
        blocks_event_loop: Whether ``agenerate`` blocks; the engine then calls ``generate`` in a thread.
        follows_instructions: Whether it can follow an instruction, such as to fuse; a base model cannot.
        known_options: Call options that it reads; ``None`` (default) if it may read any.
    """

    blocks_event_loop: bool = False
    follows_instructions: bool = True
    known_options: frozenset[str] | None = None

    def __init__(self, name: str, *, price: Price | None = None) -> None:
        cls = type(self)
        if cls.generate is Member.generate and cls.agenerate is Member.agenerate:
            raise ConfigurationError(f"{cls.__name__} has neither generate nor agenerate; write one of them")
        if price is not None and not isinstance(price, Price):
            raise ConfigurationError(
                f"price of {name!r} is {price!r}; write Price(input, output), for a million tokens"
            )
        self.name = name
        self.price = price

    def generate(self, prompt: Prompt) -> Answer:
        """Answer the prompt, blocking.

        Args:
            prompt: The prompt; do not change it.

        Returns:
            The answer.
        """
        return run_sync(lambda: past_closed_loops(lambda: self.agenerate(prompt)))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Answer the prompt without blocking the event loop.

        Args:
            prompt: The prompt; do not change it.

        Returns:
            The answer.
        """
        return await call_in_thread(self.generate, prompt)

    def stream(self, prompt: Prompt) -> Iterator[str | Thought | Answer]:
        """Stream the answer, blocking: pieces of text, then one ``Answer``.

        Args:
            prompt: The prompt; do not change it.

        Yields:
            Text as it comes, thoughts as ``Thought``, then the whole answer. Without native streaming the text is one
            piece.
        """
        yield from _in_pieces(self.generate(prompt))

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Thought | Answer]:
        """Stream the answer without blocking the event loop; see ``stream``.

        Args:
            prompt: The prompt; do not change it.

        Yields:
            Text and thoughts as they come, then the whole answer.
        """
        if self.has_native_async:
            answer = await self.agenerate(prompt)
        else:
            answer = await call_in_thread(self.generate, prompt)
        for piece in _in_pieces(answer):
            yield piece

    def can_call_tools(self, tools: list[Any]) -> bool:
        """Decide if the member takes part in a call with these tools.

        Args:
            tools: Tools in the OpenAI format.

        Returns:
            ``True`` if it does, or if that is unknown.
        """
        return True

    def why_not(self, prompt: Prompt) -> str | None:
        """Tell why the member cannot take a prompt, for example because it holds images or is too long.

        The engine asks this before each call, in a thread if ``why_not_blocks``. A member with a reason takes no part;
        its record says why.

        Args:
            prompt: The prompt.

        Returns:
            The reason, as in ``"it reads no images"``; ``None`` if it can take it, or if that is unknown.
        """
        return None

    def why_not_blocks(self, prompt: Prompt) -> bool:
        """Tell whether ``why_not`` may take long: it asks a server, or counts a long prompt. Must be quick itself.

        Args:
            prompt: The prompt.

        Returns:
            ``False`` if the event loop can ask it; default is whether ``why_not`` was written anew.
        """
        return type(self).why_not is not Member.why_not

    @property
    def context_window(self) -> int | None:
        """Most tokens that one call reads and writes; ``None`` if unknown."""
        return None

    @property
    def control_tokens(self) -> frozenset[str]:
        """Control tokens of its model, kept out of what it judges and fuses; empty if they are unknown."""
        return frozenset()

    @property
    def has_native_async(self) -> bool:
        """Whether the class defines ``agenerate``, and it does not block."""
        return type(self).agenerate is not Member.agenerate and not self.blocks_event_loop

    @property
    def has_native_sync(self) -> bool:
        """Whether the class defines ``generate``."""
        return type(self).generate is not Member.generate

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def check_options(names: Iterable[str], members: Iterable[Member], *, also: Iterable[str] = (), owner: str) -> None:
    """Refuse a call option that no member reads, such as a mistyped one.

    Args:
        names: Names of the options.
        members: The members; with one that may read any option, nothing is refused.
        also: Options that somebody else reads.
        owner: What the caller called.

    Raises:
        ConfigurationError: Nobody reads an option; the message names the nearest that is read.
    """
    read: set[str] = set(also)
    for member in members:
        if member.known_options is None:
            return
        read |= member.known_options
    check_keywords(names, read, owner)


def _in_pieces(answer: Answer) -> Iterator[str | Thought | Answer]:
    if answer.thoughts:
        yield Thought(answer.thoughts)
    if answer.text:
        yield answer.text
    yield answer


class FunctionMember(Member):
    """Answers with a function from text to text.

    Args:
        function: Takes the flattened prompt, returns the answer; may be asynchronous.
        name: Shown in results; default is the function's name.
        price: Price of its tokens, if cost matters.

    Examples:
        >>> FunctionMember(str.upper, name="shout").generate(Prompt.of("hi")).text
        'HI'
    """

    known_options = frozenset()

    def __init__(
        self, function: Callable[[str], str | Awaitable[str]], *, name: str | None = None, price: Price | None = None
    ) -> None:
        super().__init__(str(name or getattr(function, "__name__", "function")), price=price)
        self._function: Callable[[str], Any] = function
        called = getattr(function, "__call__", None)  # noqa: B004
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)

    def can_call_tools(self, tools: list[Any]) -> bool:
        """Return ``False``: a function of text cannot call tools."""
        return False

    def why_not(self, prompt: Prompt) -> str | None:
        """Refuse images, sound and files: the function gets text."""
        return unreadable(prompt)

    def why_not_blocks(self, prompt: Prompt) -> bool:
        """Return ``False``, unless a subclass writes ``why_not`` anew."""
        return type(self).why_not is not FunctionMember.why_not

    def generate(self, prompt: Prompt) -> Answer:
        """Call the function with the flattened prompt.

        Raises:
            UnsupportedError: The call has tools, which a function of text cannot call.
        """
        self._refuse_tools(prompt)
        return super().generate(prompt) if self._is_async else Answer(self._function(prompt.text))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Call the function with the flattened prompt; see ``generate``."""
        self._refuse_tools(prompt)
        return Answer(await self._function(prompt.text)) if self._is_async else await super().agenerate(prompt)

    @property
    def has_native_async(self) -> bool:
        """Whether the function is asynchronous."""
        return self._is_async

    @property
    def has_native_sync(self) -> bool:
        """Whether the function is not asynchronous."""
        return not self._is_async

    def _refuse_tools(self, prompt: Prompt) -> None:
        if prompt.options.get("tools"):
            raise UnsupportedError(f"{self.name} is a function of text and cannot call tools; it takes no part here")

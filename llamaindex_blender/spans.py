"""Report members to LlamaIndex's instrumentation, as spans under the blend's span."""

from __future__ import annotations

import contextlib
import inspect
import uuid
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Protocol, TypeVar

from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import active_instrument_tags

from blender_core.events import Thought
from blender_core.members.member import Member
from blender_core.types.answer import Answer
from blender_core.types.prompt import Prompt

__all__ = ["TracedMember"]

T = TypeVar("T")
_dispatcher = get_dispatcher(__name__)


class _Finished(Protocol):
    def __call__(self, result: T, /) -> T:
        """Record the span's result, and return it."""


class TracedMember(Member):
    """Reports the calls of a member to LlamaIndex's instrumentation.

    Events during a call have the tags ``blended_llm.member`` and ``blended_llm.role`` (``"candidate"``, ``"fuser"`` or
    ``"judge"``). Event handlers tell members' events from the blend's by them. A member that opens no spans itself
    gets one.

    Args:
        member: The member.
        own_span: Whether the member opens spans itself, as LlamaIndex LLMs do.
    """

    def __init__(self, member: Member, *, own_span: bool) -> None:
        super().__init__(member.name, price=member.price)
        self.member = member
        self.blocks_event_loop = member.blocks_event_loop
        self.follows_instructions = member.follows_instructions
        self._own_span = own_span

    @property
    def has_native_async(self) -> bool:
        """As of the member."""
        return self.member.has_native_async

    @property
    def has_native_sync(self) -> bool:
        """As of the member."""
        return self.member.has_native_sync

    @property
    def context_window(self) -> int | None:
        """As of the member, in tokens."""
        return self.member.context_window

    def why_not(self, prompt: Prompt) -> str | None:
        """As of the member."""
        return self.member.why_not(prompt)

    def why_not_blocks(self, prompt: Prompt) -> bool:
        """As of the member."""
        return self.member.why_not_blocks(prompt)

    def can_call_tools(self, tools: list[object]) -> bool:
        """Tell whether the member takes the tools."""
        return self.member.can_call_tools(tools)

    def generate(self, prompt: Prompt) -> Answer:
        """Ask the member inside its span."""
        with self._span("generate", prompt) as finished:
            return finished(self.member.generate(prompt))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Ask the member inside its span."""
        with self._span("agenerate", prompt) as finished:
            return finished(await self.member.agenerate(prompt))

    def stream(self, prompt: Prompt) -> Iterator[str | Thought | Answer]:
        """Stream the member inside its span."""
        with self._span("stream", prompt) as finished:
            for item in self.member.stream(prompt):
                yield finished(item)

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Thought | Answer]:
        """Stream the member inside its span."""
        with self._span("astream", prompt) as finished:
            async for item in self.member.astream(prompt):
                yield finished(item)

    @contextlib.contextmanager
    def _span(self, method: str, prompt: Prompt) -> Iterator[_Finished]:
        role = {"fuse": "fuser", "judge": "judge"}.get(prompt.purpose, "candidate")
        tags = {**active_instrument_tags.get(), "blended_llm.member": self.name, "blended_llm.role": role}
        results: list[object] = [None]

        def finished(result: T, /) -> T:
            results[0] = result
            return result

        with _set(active_instrument_tags, tags):
            if self._own_span:
                yield finished
                return
            span_id = f"{type(self.member).__name__}.{method}-{uuid.uuid4()}"
            arguments = inspect.signature(getattr(self.member, method)).bind(prompt)
            parent = active_span_id.get()
            _dispatcher.span_enter(id_=span_id, bound_args=arguments, instance=self.member, parent_id=parent, tags=tags)
            try:
                with _set(active_span_id, span_id):
                    yield finished
            except BaseException as error:
                _dispatcher.span_drop(id_=span_id, bound_args=arguments, instance=self.member, err=error)
                raise
            _dispatcher.span_exit(id_=span_id, bound_args=arguments, instance=self.member, result=results[0])


@contextlib.contextmanager
def _set(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Set a context variable for a while. No token, because a generator may be closed in another context."""
    before = variable.get()
    variable.set(value)
    try:
        yield
    finally:
        variable.set(before)

"""Ask members that retrieve before they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, cast

from blender_core.errors import ConfigurationError, MemberError
from blender_core.events import Thought
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.rag.sources import GroundedCandidate, Source
from blender_core.types.answer import Answer, Usage
from blender_core.types.prompt import Prompt

__all__ = ["SourcedMember", "candidate_of"]

AnswerFunction = Callable[[Prompt], GroundedCandidate]
AsyncAnswerFunction = Callable[[Prompt], Awaitable[GroundedCandidate]]


class SourcedMember(Member):
    """Asks an engine that retrieves passages and answers from them.

    ``Answer.native`` is a ``GroundedCandidate``. Pass functions, or write a subclass that overrides ``answer`` or
    ``aanswer``. A request to fuse goes to ``llm`` without retrieval.

    Args:
        name: Shown in results.
        answer: Answers a prompt, blocking.
        aanswer: Answers a prompt without blocking the event loop.
        llm: The LLM that writes the answers, as anything that can be a member. It fuses if this engine is the strongest
            and the blend has no other fuser. ``None``: this engine cannot fuse.

    Raises:
        ConfigurationError: There is no function, and the subclass overrides neither method.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> def engine(prompt):
        ...     return GroundedCandidate("Paris [1].", (Source("Paris is the capital of France."),))
        >>> SourcedMember("small", engine).generate(Prompt.of("Capital of France?")).text
        'Paris [1].'
    """

    def __init__(
        self,
        name: str,
        answer: AnswerFunction | None = None,
        aanswer: AsyncAnswerFunction | None = None,
        *,
        llm: Any = None,
    ) -> None:
        super().__init__(name)
        cls = type(self)
        self._answer = answer or (None if cls.answer is SourcedMember.answer else self.answer)
        self._aanswer = aanswer or (None if cls.aanswer is SourcedMember.aanswer else self.aanswer)
        if self._answer is None and self._aanswer is None:
            raise ConfigurationError(f"{name} has neither answer nor aanswer; give SourcedMember one of them")
        self._llm = None if llm is None else as_member(llm)
        self.follows_instructions = self._llm is not None and self._llm.follows_instructions

    def answer(self, prompt: Prompt) -> GroundedCandidate:
        """Retrieve and answer, blocking; for subclasses."""
        raise NotImplementedError

    async def aanswer(self, prompt: Prompt) -> GroundedCandidate:
        """Retrieve and answer without blocking the event loop; for subclasses."""
        raise NotImplementedError

    @property
    def has_native_async(self) -> bool:
        """Whether there is an asynchronous function that does not block the event loop."""
        return self._aanswer is not None and not self.blocks_event_loop

    @property
    def has_native_sync(self) -> bool:
        """Whether there is a synchronous function."""
        return self._answer is not None

    def generate(self, prompt: Prompt) -> Answer:
        """Answer, blocking; a request to fuse or to judge goes to the LLM."""
        if prompt.purpose != "answer":
            return self._writer(prompt).generate(prompt)
        if self._answer is None:
            return super().generate(prompt)
        return self._wrap(self._answer(prompt))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Answer without blocking the event loop; a request to fuse or to judge goes to the LLM."""
        from blender_core.gather.call import ask

        if prompt.purpose != "answer":
            return await ask(self._writer(prompt), prompt, in_threads=False)
        if self._aanswer is None or self.blocks_event_loop:
            return await Member.agenerate(self, prompt)
        return self._wrap(await self._aanswer(prompt))

    def stream(self, prompt: Prompt) -> Iterator[str | Thought | Answer]:
        """Stream the LLM if it fuses or judges; the engine's own answer is one piece."""
        if prompt.purpose != "answer":
            yield from self._writer(prompt).stream(prompt)
        else:
            yield from super().stream(prompt)

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Thought | Answer]:
        """Stream without blocking the event loop; see ``stream``."""
        items = super().astream(prompt) if prompt.purpose == "answer" else self._writer(prompt).astream(prompt)
        async with aclosing(cast(Any, items)) as pieces:
            async for piece in pieces:
                yield piece

    def why_not(self, prompt: Prompt) -> str | None:
        """As of the LLM, if it is to fuse or to judge."""
        return None if prompt.purpose == "answer" or self._llm is None else self._llm.why_not(prompt)

    def why_not_blocks(self, prompt: Prompt) -> bool:
        """As of the LLM, if it is to fuse or to judge."""
        if type(self).why_not is not SourcedMember.why_not:
            return True
        return prompt.purpose != "answer" and self._llm is not None and self._llm.why_not_blocks(prompt)

    def _writer(self, prompt: Prompt) -> Member:
        if self._llm is None:
            raise MemberError(
                f"{self.name} has no LLM that could {prompt.purpose}; give it one, or give the blend a fuser and a "
                "ranker of their own"
            )
        return self._llm

    def _wrap(self, candidate: GroundedCandidate) -> Answer:
        if not isinstance(candidate, GroundedCandidate):
            raise MemberError(f"{self.name} returned {type(candidate).__name__}; return a GroundedCandidate")
        sources = candidate.sources
        known = isinstance(sources, tuple | list) and all(
            isinstance(one, Source) and isinstance(one.text, str) and isinstance(one.id, str) for one in sources
        )
        if not known:
            raise MemberError(f"{self.name} returned the sources {sources!r:.200}; give a tuple of Source with texts")
        return Answer(candidate.answer, usage=_usage(candidate), native=candidate)


def candidate_of(answer: Answer) -> GroundedCandidate:
    """Return an answer's candidate; an answer of a plain LLM has no sources.

    Args:
        answer: A member's answer.

    Returns:
        The candidate.
    """
    return answer.native if isinstance(answer.native, GroundedCandidate) else GroundedCandidate(answer.text)


def _usage(candidate: GroundedCandidate) -> Usage | None:
    usage = getattr(candidate.native, "usage", None)
    return usage if isinstance(usage, Usage) else None

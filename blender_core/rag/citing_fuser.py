"""Fuse answers that cite sources, with one numbering for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from blender_core.events import Thought
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.fuse.protocol import FusedText, Fuser, FusionInput
from blender_core.fuse.run import RejectedFusionError
from blender_core.rag.citations import StreamedCitations, rewrite_citations
from blender_core.rag.groundedness import Groundedness, support_of
from blender_core.rag.sources import GroundedCandidate, SourceUnion, unite_sources
from blender_core.runtime.threads import compute_in_thread

__all__ = ["CitingFuser"]


class CitingFuser:
    """Renumbers the citations of a fuser's candidates, and checks its text.

    Citations then count the union of the candidates' sources.
    An ``LLMFuser`` also reads the sources. Citations to nothing are dropped from the fused text. The text is rejected
    if the union supports it less than ``min_groundedness``, and a candidate was supported. One object serves one call.

    Args:
        fuser: The fuser; its ``afuse``, ``stream`` and ``astream`` are used if it has them.
        chosen: Returns name and candidate of each answer that is fused, in the order of the fuser's candidates.
        citations: Whether numbers in brackets are citations.
        source_characters: Most characters of sources in the prompt of an ``LLMFuser``.
        groundedness: The measure; ``None`` rejects nothing.
        min_groundedness: Least support of a fused text, in [0, 1].

    Attributes:
        dropped: Numbers of the citations that were dropped from the fused text.
    """

    def __init__(
        self,
        fuser: Fuser,
        chosen: Callable[[], list[tuple[str, GroundedCandidate]]],
        *,
        citations: bool,
        source_characters: int,
        groundedness: Groundedness | None,
        min_groundedness: float,
    ) -> None:
        self._fuser: Any = fuser
        self._chosen = chosen
        self._citations = citations
        self._source_characters = source_characters if isinstance(fuser, LLMFuser) else 0
        self._groundedness = groundedness
        self._min_groundedness = min_groundedness
        self.name = fuser.name
        self.computes_locally = bool(getattr(fuser, "computes_locally", False))
        self.dropped: tuple[int, ...] = ()
        # the engine looks for these methods, so only those of the fuser may exist
        for method in ("afuse", "stream", "astream"):
            if hasattr(fuser, method):
                setattr(self, method, getattr(self, f"_{method}"))
        for method in ("writer", "why_not"):
            if hasattr(fuser, method):
                setattr(self, method, getattr(fuser, method))

    def fuse(self, request: FusionInput) -> FusedText:
        """Fuse, blocking.

        Raises:
            RejectedFusionError: The union of sources does not support the fused text.
        """
        inner, union, kept = self._prepare(request)
        return self._checked(self._fuser.fuse(inner), request, union, kept)

    async def _afuse(self, request: FusionInput) -> FusedText:
        inner, union, kept = self._prepare(request)
        fused = await self._fuser.afuse(inner)
        # a measure may compute or ask an LLM, which must not stop the event loop
        return await compute_in_thread(lambda: self._checked(fused, request, union, kept))

    def _stream(self, request: FusionInput) -> Iterator[str | Thought | FusedText]:
        inner, union, kept = self._prepare(request)
        rewriting = StreamedCitations(_numbers(union))
        for item in self._fuser.stream(inner):
            if isinstance(item, FusedText):
                yield self._rest(rewriting)
                yield self._checked(item, request, union, kept)
            else:
                yield rewriting.feed(item) if self._citations and isinstance(item, str) else item

    async def _astream(self, request: FusionInput) -> AsyncIterator[str | Thought | FusedText]:
        inner, union, kept = self._prepare(request)
        rewriting = StreamedCitations(_numbers(union))
        async with aclosing(self._fuser.astream(inner)) as items:
            async for item in items:
                if isinstance(item, FusedText):
                    yield self._rest(rewriting)
                    checked = partial(self._checked, item, request, union, kept)
                    yield await compute_in_thread(checked)
                else:
                    yield rewriting.feed(item) if self._citations and isinstance(item, str) else item

    def _rest(self, rewriting: StreamedCitations) -> str:
        """The end of a streamed text, which is the result."""
        if not self._citations:
            return ""
        rest = rewriting.close()
        self.dropped = rewriting.rewritten.dropped
        return rest

    def _prepare(self, request: FusionInput) -> tuple[FusionInput, SourceUnion, list[tuple[str, GroundedCandidate]]]:
        kept = self._chosen()
        union = unite_sources(kept)
        texts = request.candidates
        if self._citations:
            texts = tuple(
                rewrite_citations(text, numbers).text for text, numbers in zip(texts, union.numbers, strict=True)
            )
        prompt = request.prompt
        if self._source_characters and union.sources:
            prompt = f"{prompt}\n\n{self._listed(union, cited=self._cites(kept))}"
        return replace(request, prompt=prompt, candidates=texts), union, kept

    def _cites(self, kept: list[tuple[str, GroundedCandidate]]) -> bool:
        return self._citations and any(
            rewrite_citations(one.answer, {number: number for number in range(1, len(one.sources) + 1)}).cited
            for _, one in kept
        )

    def _listed(self, union: SourceUnion, *, cited: bool) -> str:
        room = max(40, self._source_characters // len(union.sources))
        lines = ["Answer from these sources only." + (" Keep the citations such as [1] right." if cited else "")]
        for linked in union.sources:
            text = " ".join(linked.source.text.split())
            lines.append(f"[{linked.number}] {text if len(text) <= room else text[: room - 3] + '...'}")
        return "\n".join(lines)

    def _checked(
        self,
        fused: FusedText,
        request: FusionInput,
        union: SourceUnion,
        kept: list[tuple[str, GroundedCandidate]],
    ) -> FusedText:
        if not isinstance(fused, FusedText) or not isinstance(fused.text, str):
            return fused
        if self._groundedness is not None and union.sources:
            sources = tuple(linked.source for linked in union.sources)
            candidates = [GroundedCandidate(fused.text, sources), *(candidate for _, candidate in kept)]
            share, *before = support_of(self._groundedness, request.prompt, candidates)
            if share < self._min_groundedness <= max(before):
                reason = f"the sources support {share:.0%} of the fused text, the best answer {max(before):.0%}"
                raise RejectedFusionError(reason, fused=fused)
        if not self._citations:
            return fused
        rewritten = rewrite_citations(fused.text, _numbers(union))
        self.dropped = self.dropped or rewritten.dropped
        return replace(fused, text=rewritten.text)


def _numbers(union: SourceUnion) -> dict[int, int]:
    return {linked.number: linked.number for linked in union.sources}

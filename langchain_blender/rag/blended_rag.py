"""Blend several retrieval chains into one."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Unpack, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config
from langchain_core.runnables.utils import AddableDict

from blender_core.events import BlendEvent, Finished, FusionRejected, Token
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.rag import GroundedBlender, GroundedResult, GroundedSettings
from blender_core.rag.blend import GROUNDED_DEFAULTS, check_fusing_llm, with_reserves
from blender_core.runtime.contexts import aiterate_in_context, iterate_in_context
from blender_core.runtime.keywords import takes_keywords
from blender_core.runtime.program_end import in_context
from langchain_blender.errors import as_model_errors
from langchain_blender.members import LangChainMember
from langchain_blender.rag.chain_member import RetrievalChainMember
from langchain_blender.rag.documents import linked_document
from langchain_blender.rag.numbered_context import retrieval_chain
from langchain_blender.rag.question import question_prompt
from langchain_blender.tracing import NO_STREAM_TAG, in_config

__all__ = ["BlendedRAG"]

_PARAGRAPH = "\n\n"


class BlendedRAG(Runnable[str | dict[str, Any], dict[str, Any]]):
    """Asks several retrieval chains, ranks answers by their documents, fuses the best.

    An answer that its own documents do not support ranks behind all that are supported. If a chain fails, the others
    answer. Citations such as ``[1]`` count the returned documents. Everything that a ``Runnable`` can do works:
    ``batch``, ``with_retry``, ``pick("answer")``, tracing, LangGraph nodes.

    Args:
        chains: Retrieval chains, see ``RetrievalChainMember``; pairs of a retriever and an LLM or answering chain,
            see ``retrieval_chain``; or other members, such as LlamaIndex query engines. A dict gives them names.
        name: Shown in traces.
        **settings: See ``blender_core.rag.GroundedSettings``. ``fuser="llm"`` (default) asks the LLM of the
            strongest chain.

    Raises:
        ConfigurationError: A setting cannot work; or ``fuser`` is ``"llm"``, and no chain shows its LLM. Pass
            ``fuser=`` an LLM, or ``None`` to pick only.

    Examples:
        >>> from langchain_core.documents import Document
        >>> from langchain_core.runnables import RunnableLambda
        >>> page = Document("The server listens on port 8080.", id="manual")
        >>> right = RunnableLambda(lambda question: {"answer": "Port 8080 [1].", "context": [page]})
        >>> wrong = RunnableLambda(lambda question: {"answer": "Port 9999 [1].", "context": [page]})
        >>> rag = BlendedRAG({"wrong": wrong, "right": right}, ranker="consensus", fuser=None)
        >>> result = rag.invoke("Which port is it?")
        >>> result["answer"], result["context"][0].metadata["blend"]["cited_by"], result["blend"]["unsupported"]
        ('Port 8080 [1].', ['right'], ['wrong'])
    """

    @takes_keywords(GroundedSettings, defaults=GROUNDED_DEFAULTS, owner="BlendedRAG")
    def __init__(
        self,
        chains: Sequence[Any] | Mapping[str, Any],
        *,
        name: str | None = None,
        **settings: Unpack[GroundedSettings],
    ) -> None:
        named = chains.items() if isinstance(chains, Mapping) else [(None, chain) for chain in chains]
        members = [_member(chain, label) for label, chain in named]
        check_fusing_llm(members, settings)
        fuser = settings.get("fuser")
        if isinstance(fuser, Runnable):
            settings["fuser"] = LLMFuser(LangChainMember(fuser))
        whole: Any = with_reserves(settings, lambda chain: _member(chain, None))
        self._blender = GroundedBlender(members, **whole)
        self.name = name

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order, reserves last."""
        return self._blender.members

    def invoke(
        self, input: str | dict[str, Any], config: RunnableConfig | None = None, **_kwargs: Any
    ) -> dict[str, Any]:
        """Answer a question.

        Args:
            input: The question; or a dict with it under ``input``, ``question`` or ``query``. The dict may have earlier
                turns under ``chat_history``. Each chain gets the form that it asks for.
            config: The config; chains run as child runs.

        Returns:
            The input, with these keys (a text is put under ``input``):

            - ``answer``: the text;
            - ``context``: copies of the documents of the winner, or of all fused answers, in the order of their
              numbers. ``metadata["blend"]`` says which chains used and cited them;
            - ``blend``: the report, ``GroundedResult.to_dict()``.

        Raises:
            QuorumError: Fewer chains answered than the quorum. The message names each chain's cause.
            ConfigurationError: There is no question in the input.
        """
        return self._call_with_config(self._invoke, input, config, run_type="chain")

    async def ainvoke(
        self, input: str | dict[str, Any], config: RunnableConfig | None = None, **_kwargs: Any
    ) -> dict[str, Any]:
        """Answer a question; see ``invoke``."""
        return await self._acall_with_config(self._ainvoke, input, config, run_type="chain")

    def stream(
        self, input: str | dict[str, Any], config: RunnableConfig | None = None, **_kwargs: Any
    ) -> Iterator[dict[str, Any]]:
        """Answer a question in pieces that add up to what ``invoke`` returns.

        If a fusion is rejected after a part of it was sent, the best answer follows as a new paragraph.
        ``blend["rejected_characters"]`` is the length of that part.

        Args:
            input: The question; see ``invoke``.
            config: The config.

        Yields:
            The input, then pieces of ``answer``, then ``context`` and ``blend``.
        """
        yield from self.transform(iter([input]), config)

    async def astream(
        self, input: str | dict[str, Any], config: RunnableConfig | None = None, **_kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer a question in pieces; see ``stream``."""

        async def once() -> AsyncIterator[str | dict[str, Any]]:
            yield input

        async with contextlib.aclosing(cast(Any, self.atransform(once(), config))) as pieces:
            async for piece in pieces:
                yield piece

    def transform(
        self, input: Iterator[str | dict[str, Any]], config: RunnableConfig | None = None, **_kwargs: Any
    ) -> Iterator[dict[str, Any]]:
        """Take a question in pieces, answer in pieces; see ``stream``."""
        yield from self._transform_stream_with_config(input, self._transform, config, run_type="chain")

    async def atransform(
        self, input: AsyncIterator[str | dict[str, Any]], config: RunnableConfig | None = None, **_kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Take a question in pieces, answer in pieces; see ``stream``."""
        stream = self._atransform_stream_with_config(input, self._atransform, config, run_type="chain")
        async with contextlib.aclosing(cast(Any, stream)) as pieces:
            async for piece in pieces:
                yield piece

    # -- calls -------------------------------------------------------------------------------------------

    def _invoke(self, given: str | dict[str, Any]) -> dict[str, Any]:
        prompt = question_prompt(given)
        with as_model_errors():
            return _output(given, _context().run(lambda: self._blender.blend(prompt)))

    async def _ainvoke(self, given: str | dict[str, Any]) -> dict[str, Any]:
        prompt = question_prompt(given)
        with as_model_errors():
            return _output(given, await in_context(lambda: self._blender.ablend(prompt), _context()))

    def _transform(self, pieces: Iterator[str | dict[str, Any]]) -> Iterator[dict[str, Any]]:
        given = _added([*pieces])
        writer = _Writer(given)
        stream = self._blender.stream(question_prompt(given))
        yield writer.first()
        with as_model_errors(), contextlib.closing(iterate_in_context(stream, _context())) as events:
            for event in events:
                yield from writer.pieces(event)

    async def _atransform(self, pieces: AsyncIterator[str | dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        given = _added([piece async for piece in pieces])
        writer = _Writer(given)
        stream = self._blender.astream(question_prompt(given))
        yield writer.first()
        with as_model_errors():
            async with contextlib.aclosing(aiterate_in_context(stream, _context())) as events:
                async for event in events:
                    for piece in writer.pieces(event):
                        yield piece

    def __repr__(self) -> str:
        return f"BlendedRAG({self._blender!r})"


class _Writer:
    """Converts the events of a call to pieces of its output; made for one call."""

    def __init__(self, given: str | dict[str, Any]) -> None:
        self._given = given
        self._sent = 0
        self._taken_back = 0

    def first(self) -> dict[str, Any]:
        return AddableDict(_echo(self._given))

    def pieces(self, event: BlendEvent) -> Iterator[dict[str, Any]]:
        if isinstance(event, Token):
            yield from self._text(event.text)
        elif isinstance(event, FusionRejected) and self._sent:
            # the sent text cannot be undone, so the answer follows as a new paragraph
            self._taken_back = self._sent
            yield from self._text(_PARAGRAPH)
        elif isinstance(event, Finished):
            output = _output(self._given, cast(GroundedResult, event.result))
            yield AddableDict({"context": output["context"]})
            yield AddableDict({"blend": {**output["blend"], "rejected_characters": self._taken_back}})

    def _text(self, text: str) -> Iterator[dict[str, Any]]:
        if text:
            self._sent += len(text)
            yield AddableDict({"answer": text})


def _output(given: str | dict[str, Any], result: GroundedResult) -> dict[str, Any]:
    return {
        **_echo(given),
        "context": [linked_document(linked) for linked in result.sources],
        "answer": result.text,
        "blend": result.to_dict(),
    }


def _echo(given: str | dict[str, Any]) -> dict[str, Any]:
    return dict(given) if isinstance(given, Mapping) else {"input": given}


def _added(pieces: list[Any]) -> Any:
    """Add the pieces of a streamed input. If two cannot be added, the later is kept, as in LangChain."""
    total = pieces[0]
    for piece in pieces[1:]:
        try:
            total = total + piece
        except TypeError:
            total = piece
    return total


def _context() -> contextvars.Context:
    """The context in which chains are child runs, and not in LangGraph's message stream."""
    config = ensure_config()
    return in_config({**config, "tags": [*(config.get("tags") or []), NO_STREAM_TAG]})


def _member(chain: Any, name: str | None) -> Member:
    if isinstance(chain, tuple) and len(chain) == 2:
        chain = retrieval_chain(*chain)
    elif inspect.isroutine(chain):
        chain = RunnableLambda(chain)
    if isinstance(chain, Runnable):
        return RetrievalChainMember(chain, name=name)
    return as_member(chain, name=name)

"""``BlendedQueryEngine``: several query engines as one."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle

from blender_core.errors import ConfigurationError
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.policy import FuseWhen
from blender_core.fuse.protocol import Fuser
from blender_core.gather.policy import GatherPolicy
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.rag import GroundedBlender, GroundedRanker, GroundedResult
from blender_core.rank.protocol import Ranker
from blender_core.types.prompt import Prompt
from llamaindex_blender.rag.engine_member import QueryEngineMember, QueryInput
from llamaindex_blender.rag.nodes import linked_node
from llamaindex_blender.rag.text_stream import StreamedText, astream_text, stream_text
from llamaindex_blender.spans import TracedMember

__all__ = ["BlendedQueryEngine"]


class BlendedQueryEngine(BaseQueryEngine):
    """Several query engines as one: all answer, the answers are ranked with their nodes in view, the best fused.

    An answer that its own nodes do not support goes behind all that are supported. An engine that fails costs its
    answer, not yours. Citations such as ``[1]`` count the source nodes of the response. It stands wherever a query
    engine does: in a ``QueryEngineTool``, a ``TransformQueryEngine``, a router, an evaluation.

    A picked answer keeps its engine's metadata, and an object, from an engine with ``output_cls``, stays one; a fused
    answer is text. In asynchronous calls an engine runs in a thread unless it is seen to be asynchronous.

    Args:
        query_engines: The engines: other retrievers, chunk sizes, prompts, LLMs. A dict gives them names. Other
            members, such as LangChain retrieval chains, can stand among them.
        ranker: ``"embedded"`` (default), another ranker or its name, or a ``GroundedRanker`` with its settings.
        fuser: ``"llm"`` (default) asks the LLM of the engine that ranked first; a fuser; any LLM; ``None`` picks only.
        top_k: How many of the best answers are fused.
        fuse_when: ``"auto"``, ``"always"``, ``"never"``, a ``FusePolicy`` or a function of a ``FuseContext``.
        citations: Whether bracketed numbers in answers are citations.
        source_characters: Most characters of nodes that an LLM that fuses gets to read.
        guard: Looks a fused text over.
        timeout: Wall-clock seconds each engine gets, and the fuser.
        deadline: Wall-clock seconds for the whole call.
        quorum: Answers needed; fewer raise ``QuorumError``.
        policy: A whole gather policy, in place of ``timeout`` and ``quorum``.
        streaming: Return a ``StreamingResponse``. Its source nodes and metadata are there when the text has ended.
        callback_manager: Hears of the blend's queries; engines keep their own.

    Raises:
        ConfigurationError: A setting cannot work; or the LLM behind the engines is to fuse, and none can be seen.

    Examples:
        >>> from llama_index.core import Document, SummaryIndex
        >>> from llama_index.core.llms import MockLLM
        >>> index = SummaryIndex.from_documents([Document(text="The server listens on port 8080.")])
        >>> engine = BlendedQueryEngine({
        ...     "short": index.as_query_engine(llm=MockLLM(max_tokens=2)),
        ...     "long": index.as_query_engine(llm=MockLLM(max_tokens=4))}, ranker="longest", fuser=None)
        >>> response = engine.query("Which port?")
        >>> str(response), response.metadata["blend"]["winner"], response.source_nodes[0].metadata["blend"]["used_by"]
        ('text text text text', 'long', ['long'])
    """

    def __init__(
        self,
        query_engines: Sequence[Any] | Mapping[str, Any],
        *,
        ranker: GroundedRanker | Ranker | str = "embedded",
        fuser: Fuser | str | Any | None = "llm",
        top_k: int = 3,
        fuse_when: FuseWhen = "auto",
        citations: bool = True,
        source_characters: int = 2000,
        guard: FusionGuard | None = None,
        timeout: float | None = 60.0,
        deadline: float | None = None,
        quorum: int = 1,
        policy: GatherPolicy | None = None,
        streaming: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager)
        listed = query_engines.items() if isinstance(query_engines, Mapping) else [(None, one) for one in query_engines]
        engines = [_member(engine, name) for name, engine in listed]
        self._engines = [one.engine for one in engines if isinstance(one, QueryEngineMember)]
        able = any(one.follows_instructions for one in engines)
        if fuser == "llm" and fuse_when != "never" and len(engines) > 1 and not able:
            names = ", ".join(one.name for one in engines)
            raise ConfigurationError(
                f"no LLM that could fuse can be seen in {names}; pass fuser=an LLM, or fuser=None to pick only"
            )
        self._streaming = streaming
        self._blender = GroundedBlender(
            # engines open spans of their own
            [TracedMember(one, own_span=isinstance(one, QueryEngineMember)) for one in engines],
            ranker=ranker,
            fuser=fuser,
            top_k=top_k,
            fuse_when=fuse_when,
            citations=citations,
            source_characters=source_characters,
            guard=guard,
            timeout=timeout,
            deadline=deadline,
            quorum=quorum,
            policy=policy,
        )

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order."""
        return self._blender.members

    def _get_prompt_modules(self) -> PromptMixinType:
        return {f"engine_{place}": engine for place, engine in enumerate(self._engines)}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt, context = _prompt(query_bundle), contextvars.copy_context()
        with self.callback_manager.event(
            CBEventType.QUERY, payload={EventPayload.QUERY_STR: query_bundle.query_str}
        ) as event:
            response: RESPONSE_TYPE
            if self._streaming:
                coming = _Coming()
                writer = StreamedText(coming.fill)
                text = stream_text(self._blender.stream(prompt), writer, context)
                response = StreamingResponse(text, coming.nodes, coming.metadata)
            else:
                response = _response(context.run(lambda: self._blender.blend(prompt)))
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt, context = _prompt(query_bundle), contextvars.copy_context()
        with self.callback_manager.event(
            CBEventType.QUERY, payload={EventPayload.QUERY_STR: query_bundle.query_str}
        ) as event:
            response: RESPONSE_TYPE
            if self._streaming:
                coming = _Coming()
                writer = StreamedText(coming.fill)
                text = astream_text(self._blender.astream(prompt), writer, context)
                response = AsyncStreamingResponse(text, coming.nodes, coming.metadata)
            else:
                response = _response(await asyncio.create_task(self._blender.ablend(prompt), context=context))
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    def __repr__(self) -> str:
        return f"BlendedQueryEngine({self._blender!r})"


class _Coming:
    """Nodes and metadata of a response whose text is still to come; filled in place at its end."""

    def __init__(self) -> None:
        self.nodes: list[NodeWithScore] = []
        self.metadata: dict[str, Any] = {}

    def fill(self, result: GroundedResult, rejected_characters: int) -> None:
        self.nodes.extend(map(linked_node, result.sources))
        report = {**result.to_dict(), "rejected_characters": rejected_characters}
        self.metadata.update(_metadata(result, report))


def _prompt(query_bundle: QueryBundle) -> Prompt:
    return replace(Prompt.of(query_bundle.query_str), native=QueryInput(query_bundle))


def _response(result: GroundedResult) -> Response | PydanticResponse:
    nodes, metadata = [linked_node(linked) for linked in result.sources], _metadata(result, result.to_dict())
    if isinstance(result.native, PydanticResponse):
        return PydanticResponse(result.native.response, nodes, metadata)
    return Response(result.text, nodes, metadata)


def _metadata(result: GroundedResult, report: dict[str, Any]) -> dict[str, Any]:
    own = result.native.metadata if isinstance(result.native, Response | PydanticResponse) else None
    return {**(own or {}), "blend": report}


def _member(engine: Any, name: str | None) -> Member:
    if isinstance(engine, BaseQueryEngine):
        return QueryEngineMember(engine, name=name)
    member = as_member(engine)
    if name is not None:
        member = copy.copy(member)
        member.name = name
    return member

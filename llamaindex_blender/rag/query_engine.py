"""``BlendedQueryEngine``: several query engines as one."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.indices.vector_store import VectorIndexRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptMixin, PromptMixinType
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from blender_core.errors import ConfigurationError
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.rag import (
    GroundedBlender,
    GroundedCandidate,
    GroundedResult,
    GroundedSettings,
    LinkedSource,
    Source,
    SourcedMember,
)
from blender_core.rag.blend import GROUNDED_DEFAULTS, check_fusing_llm
from blender_core.runtime.keywords import takes_keywords
from blender_core.types.prompt import Prompt
from llamaindex_blender.blocking import awaits, blocks_event_loop
from llamaindex_blender.rag.text_stream import StreamedText, astream_text, stream_text
from llamaindex_blender.spans import TracedMember

__all__ = [
    "BLEND_KEY",
    "BlendedQueryEngine",
    "QueryEngineMember",
    "QueryInput",
    "is_asynchronous",
    "linked_node",
    "to_source",
]

BLEND_KEY = "blend"
"""Where a copy's metadata says what the blend knows of a node. LLMs and embedding models are not shown it."""


def to_source(found: NodeWithScore) -> Source:
    """Read a retrieved node for the engine.

    Args:
        found: The node, and the retriever's score.

    Returns:
        The source.

    Examples:
        >>> to_source(NodeWithScore(node=TextNode(text="The port is 8080.", id_="manual"), score=0.5))
        Source(text='The port is 8080.', id='manual', metadata={}, score=0.5)
    """
    metadata = {key: value for key, value in found.node.metadata.items() if key != BLEND_KEY}
    return Source(found.node.get_content(), id=found.node.node_id, metadata=metadata, score=found.score, native=found)


def linked_node(linked: LinkedSource) -> NodeWithScore:
    """A source of a result as a node.

    Args:
        linked: The source, and who used it.

    Returns:
        A copy with the id of the retrieved node. ``metadata["blend"]`` has its number in citations, and the names of
        the engines that used and that cited it, best first. A source of another framework becomes a new node.
    """
    source = linked.source
    if isinstance(source.native, NodeWithScore):
        node = source.native.node
    else:
        node = TextNode(text=source.text, metadata=dict(source.metadata), **({"id_": source.id} if source.id else {}))
    known = {"number": linked.number, "used_by": list(linked.used_by), "cited_by": list(linked.cited_by)}
    copied = node.model_copy(
        update={
            "metadata": {**node.metadata, BLEND_KEY: known},
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, BLEND_KEY],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, BLEND_KEY],
        }
    )
    return NodeWithScore(node=copied, score=source.score)


_WRITER_DEPTH = 4


@dataclass(frozen=True, slots=True)
class QueryInput:
    """A query in LlamaIndex's own form; engines get it untouched.

    Attributes:
        bundle: The query, perhaps with embedding strings of its own.
    """

    bundle: QueryBundle


class QueryEngineMember(SourcedMember):
    """Asks a query engine; its source nodes are the candidate's sources.

    On an event loop it runs in a thread, unless the engine and all its parts are seen to be asynchronous.

    Args:
        engine: The query engine; streaming ones are read to their end.
        name: Shown in results; default is the class of the engine.
        llm: The LLM that fuses where this engine ranked first; default is the one of its response synthesizer.

    Raises:
        ConfigurationError: It is not a query engine.
    """

    def __init__(self, engine: BaseQueryEngine, *, name: str | None = None, llm: Any = None) -> None:
        if not isinstance(engine, BaseQueryEngine):
            raise ConfigurationError(f"{type(engine).__name__} is not a query engine; pass a BaseQueryEngine")
        self.engine = engine
        writer = _writer(engine, 0) if llm is None else llm
        super().__init__(name or type(engine).__name__, llm=writer)
        self.blocks_event_loop = not is_asynchronous(engine)

    def answer(self, prompt: Prompt) -> GroundedCandidate:
        """Query, blocking.

        Args:
            prompt: The prompt.

        Returns:
            The engine's answer and its source nodes.
        """
        return _candidate(self.engine.query(_query(prompt)))

    async def aanswer(self, prompt: Prompt) -> GroundedCandidate:
        """Query on the event loop.

        Args:
            prompt: The prompt.

        Returns:
            The engine's answer and its source nodes.
        """
        response = await self.engine.aquery(_query(prompt))
        if isinstance(response, AsyncStreamingResponse):
            response = await response.get_response()
        return _candidate(response)


def _query(prompt: Prompt) -> str | QueryBundle:
    return prompt.native.bundle if isinstance(prompt.native, QueryInput) else prompt.text


def _candidate(response: Any) -> GroundedCandidate:
    if isinstance(response, StreamingResponse):
        response = response.get_response()
    return GroundedCandidate(_text(response), tuple(map(to_source, response.source_nodes)), response)


def _text(response: Any) -> str:
    # ``str(response)`` would say "None" where there is nothing
    if response.response is None:
        return ""
    return response.response.model_dump_json() if isinstance(response, PydanticResponse) else str(response.response)


def _writer(part: PromptMixin, depth: int) -> BaseLLM | None:
    """The LLM of the response synthesizer, wherever in the engine that stands; ``None`` where it cannot be seen."""
    if isinstance(part, BaseSynthesizer):
        return part._llm if isinstance(part._llm, BaseLLM) else None
    if depth == _WRITER_DEPTH:
        return None
    found = (_writer(inner, depth + 1) for inner in part._get_prompt_modules().values())
    return next((llm for llm in found if llm is not None), None)


_MAX_DEPTH = 6
_CORE = "llama_index.core."
# what each kind of part does its asynchronous work in; core's defaults of most of them call the synchronous method
_WORK = {
    BaseRetriever: "_aretrieve",
    BaseEmbedding: "_aget_query_embedding",
    BasePydanticVectorStore: "aquery",
    BaseNodePostprocessor: "_apostprocess_nodes",
    BaseSynthesizer: "aget_response",
}
_PARTS = (BaseQueryEngine, BaseLLM, *_WORK)


def is_asynchronous(engine: BaseQueryEngine) -> bool:
    """Whether an engine and all its parts are seen to work asynchronously.

    The parts are the retriever, its embedding and vector store, the postprocessors, the response synthesizer and the
    LLMs of all these. What cannot be seen, such as the inside of an engine of one's own, counts as blocking.

    Args:
        engine: Any query engine.

    Returns:
        Whether ``aquery`` leaves the event loop free.

    Examples:
        >>> from llama_index.core import SummaryIndex
        >>> from llama_index.core.llms import MockLLM
        >>> is_asynchronous(SummaryIndex([]).as_query_engine(llm=MockLLM()))
        False
    """
    return _is_asynchronous(engine, 0)


def _is_asynchronous(part: Any, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        return False
    if isinstance(part, BaseLLM):
        return not blocks_event_loop(part)
    if isinstance(part, BaseQueryEngine):
        if isinstance(part, BlendedQueryEngine):
            # it runs in threads what would block
            return True
        known = type(part) is RetrieverQueryEngine
    else:
        known = _waits(part) and not _is_opaque(part)
    return known and all(_is_asynchronous(inner, depth + 1) for inner in _inner_parts(part))


def _is_opaque(part: Any) -> bool:
    """Some of core's retrievers wait, and also read a database or a graph on the event loop."""
    cls = type(part)
    return isinstance(part, BaseRetriever) and cls.__module__.startswith(_CORE) and cls is not VectorIndexRetriever


def _waits(part: Any) -> bool:
    """Whether the method that does the work awaits anything; one that never does cannot give the event loop back."""
    name = next(method for kind, method in _WORK.items() if isinstance(part, kind))
    for cls in type(part).__mro__:
        if name not in cls.__dict__:
            continue
        function = inspect.unwrap(cls.__dict__[name])
        code = getattr(function, "__code__", None)
        if code is None or not inspect.iscoroutinefunction(function):
            return False
        if not awaits(code):
            return False
        if "super" not in code.co_names:
            return True
        # it waits for what the base class does
    return False


def _inner_parts(part: Any) -> Iterator[Any]:
    private = getattr(part, "__pydantic_private__", None) or {}
    for value in (*vars(part).values(), *private.values()):
        group = tuple(value.values()) if isinstance(value, Mapping) else value
        for inner in group if isinstance(group, list | tuple) else (group,):
            if isinstance(inner, _PARTS):
                yield inner


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
        streaming: Return a ``StreamingResponse``. Its source nodes and metadata are there when the text has ended.
        callback_manager: Hears of the blend's queries; engines keep their own.
        **settings: See ``blender_core.rag.GroundedSettings``. ``fuser="llm"`` (default) asks the LLM of the engine that
            ranked first.

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

    @takes_keywords(GroundedSettings, defaults=GROUNDED_DEFAULTS, owner="BlendedQueryEngine")
    def __init__(
        self,
        query_engines: Sequence[Any] | Mapping[str, Any],
        *,
        streaming: bool = False,
        callback_manager: CallbackManager | None = None,
        **settings: Unpack[GroundedSettings],
    ) -> None:
        super().__init__(callback_manager)
        listed = query_engines.items() if isinstance(query_engines, Mapping) else [(None, one) for one in query_engines]
        engines = [_member(engine, name) for name, engine in listed]
        check_fusing_llm(engines, settings)
        self._engines = [one.engine for one in engines if isinstance(one, QueryEngineMember)]
        self._streaming = streaming
        # engines open spans of their own
        traced = [TracedMember(one, own_span=isinstance(one, QueryEngineMember)) for one in engines]
        self._blender = GroundedBlender(traced, **settings)

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
    return as_member(engine, name=name)

"""Blend several query engines into one."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from blender_core.rag.blend import GROUNDED_DEFAULTS, check_fusing_llm, with_reserves
from blender_core.runtime.keywords import takes_keywords
from blender_core.runtime.program_end import in_context
from blender_core.types.prompt import Prompt
from llamaindex_blender.blocking import awaits, predicts_in_thread
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
"""Metadata key of the blend's own facts about a node. LLMs and embedding models do not see it."""


def to_source(found: NodeWithScore) -> Source:
    """Convert a retrieved node to a source.

    Args:
        found: The node and the retriever's score.

    Returns:
        The source.

    Examples:
        >>> to_source(NodeWithScore(node=TextNode(text="The port is 8080.", id_="manual"), score=0.5))
        Source(text='The port is 8080.', id='manual', metadata={}, score=0.5)
    """
    metadata = {key: value for key, value in found.node.metadata.items() if key != BLEND_KEY}
    return Source(found.node.get_content(), id=found.node.node_id, metadata=metadata, score=found.score, native=found)


def linked_node(linked: LinkedSource) -> NodeWithScore:
    """Convert a source of a result to a node.

    Args:
        linked: The source, and the engines that used it.

    Returns:
        A copy with the id of the retrieved node. ``metadata["blend"]`` has its citation number and the names of the
        engines that used it and that cited it, best first. A source of another framework becomes a new node.
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
    """Holds a query in LlamaIndex's own form; engines get it unchanged.

    Attributes:
        bundle: The query; it may have its own embedding strings.
    """

    bundle: QueryBundle


class QueryEngineMember(SourcedMember):
    """Asks a query engine; its source nodes are the answer's sources.

    In asynchronous calls it runs in a thread, unless ``is_asynchronous`` finds that it does not block.

    Args:
        engine: The query engine; a streaming one is read to its end.
        name: Shown in results; default is the class of the engine.
        llm: The LLM that fuses if this engine is the strongest; default is the one of its response synthesizer.

    Raises:
        ConfigurationError: It is not a query engine. Pass a ``BaseQueryEngine``.
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
        """Query on the event loop; see ``answer``."""
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
    # ``str(response)`` is "None" for no response
    if response.response is None:
        return ""
    return response.response.model_dump_json() if isinstance(response, PydanticResponse) else str(response.response)


def _writer(part: PromptMixin, depth: int) -> BaseLLM | None:
    """The LLM of the engine's response synthesizer; ``None`` if the engine does not show it."""
    if isinstance(part, BaseSynthesizer):
        return part._llm if isinstance(part._llm, BaseLLM) else None
    if depth == _WRITER_DEPTH:
        return None
    found = (_writer(inner, depth + 1) for inner in part._get_prompt_modules().values())
    return next((llm for llm in found if llm is not None), None)


_MAX_DEPTH = 6
_CORE = "llama_index.core."
# the asynchronous method of each kind of part; most defaults of core call the synchronous method
_WORK = {
    BaseRetriever: "_aretrieve",
    BaseEmbedding: "_aget_query_embedding",
    BasePydanticVectorStore: "aquery",
    BaseNodePostprocessor: "_apostprocess_nodes",
    BaseSynthesizer: "aget_response",
}
_PARTS = (BaseQueryEngine, BaseLLM, *_WORK)


def is_asynchronous(engine: BaseQueryEngine) -> bool:
    """Tell whether an engine and all its parts are known to work asynchronously.

    The parts are the retriever, its embedding model and vector store, the postprocessors, the response synthesizer,
    and their LLMs. A part that cannot be inspected, such as a custom engine, counts as blocking.

    Args:
        engine: Any query engine.

    Returns:
        ``True`` if ``aquery`` does not block the event loop.

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
        return not predicts_in_thread(part)
    if isinstance(part, BaseQueryEngine):
        if isinstance(part, BlendedQueryEngine):
            # it runs blocking engines in threads
            return True
        known = type(part) is RetrieverQueryEngine
    else:
        known = _waits(part) and not _is_opaque(part)
    return known and all(_is_asynchronous(inner, depth + 1) for inner in _inner_parts(part))


def _is_opaque(part: Any) -> bool:
    """Some of core's retrievers await, and also read a database or a graph on the event loop."""
    cls = type(part)
    return isinstance(part, BaseRetriever) and cls.__module__.startswith(_CORE) and cls is not VectorIndexRetriever


def _waits(part: Any) -> bool:
    """Tell whether the method that does the work awaits anything; one that never does blocks the event loop."""
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
        # it awaits the method of the base class
    return False


def _inner_parts(part: Any) -> Iterator[Any]:
    private = getattr(part, "__pydantic_private__", None) or {}
    for value in (*vars(part).values(), *private.values()):
        group = tuple(value.values()) if isinstance(value, Mapping) else value
        for inner in group if isinstance(group, list | tuple) else (group,):
            if isinstance(inner, _PARTS):
                yield inner


class BlendedQueryEngine(BaseQueryEngine):
    """Asks several query engines, ranks answers by their nodes, fuses the best.

    An answer that its own nodes do not support ranks behind all that are supported. If an engine fails, the others
    answer. Citations such as ``[1]`` count the source nodes of the response. Use it like any query engine: in a
    ``QueryEngineTool``, a ``TransformQueryEngine``, a router, an evaluation.

    A picked answer keeps its engine's metadata, and the object of an engine with ``output_cls``. A fused answer is
    text. In asynchronous calls an engine that may block runs in a thread.

    Args:
        query_engines: The engines, with different retrievers, chunk sizes, prompts or LLMs. A dict gives them names.
            Other members, such as LangChain retrieval chains, may be among them.
        streaming: Whether to return a ``StreamingResponse``. Its source nodes and metadata are set when the text ends.
        callback_manager: Is told of the blend's queries; engines keep their own managers.
        **settings: See ``blender_core.rag.GroundedSettings``. ``fuser="llm"`` (default) asks the LLM of the
            strongest engine.

    Raises:
        ConfigurationError: A setting cannot work; or ``fuser`` is ``"llm"``, and no engine shows its LLM. Pass
            ``fuser=`` an LLM, or ``None`` to pick only.

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
        whole: Any = with_reserves(settings, lambda engine: _traced(_member(engine, None)))
        reserves = [reserve.member for reserve in whole["reserves"]]
        self._engines = [one.engine for one in (*engines, *reserves) if isinstance(one, QueryEngineMember)]
        self._streaming = streaming
        self._blender = GroundedBlender(list(map(_traced, engines)), **whole)

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order, reserves last."""
        return self._blender.members

    def _get_prompt_modules(self) -> PromptMixinType:
        return {f"engine_{place}": engine for place, engine in enumerate(self._engines)}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt, context = _prompt(query_bundle), contextvars.copy_context()
        with self._query_event(query_bundle) as reported:
            if self._streaming:
                coming = _Coming()
                text = stream_text(self._blender.stream(prompt), StreamedText(coming.fill), context)
                return reported(StreamingResponse(text, coming.nodes, coming.metadata))
            return reported(_response(context.run(lambda: self._blender.blend(prompt))))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt, context = _prompt(query_bundle), contextvars.copy_context()
        with self._query_event(query_bundle) as reported:
            if self._streaming:
                coming = _Coming()
                text = astream_text(self._blender.astream(prompt), StreamedText(coming.fill), context)
                return reported(AsyncStreamingResponse(text, coming.nodes, coming.metadata))
            return reported(_response(await in_context(lambda: self._blender.ablend(prompt), context)))

    @contextmanager
    def _query_event(self, query_bundle: QueryBundle) -> Iterator[Callable[[RESPONSE_TYPE], RESPONSE_TYPE]]:
        """The callback event of a query; what it yields reports the response and returns it."""
        with self.callback_manager.event(
            CBEventType.QUERY, payload={EventPayload.QUERY_STR: query_bundle.query_str}
        ) as event:

            def reported(response: RESPONSE_TYPE) -> RESPONSE_TYPE:
                event.on_end(payload={EventPayload.RESPONSE: response})
                return response

            yield reported

    def __repr__(self) -> str:
        return f"BlendedQueryEngine({self._blender!r})"


class _Coming:
    """Nodes and metadata of a streaming response; filled when its text ends."""

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


def _traced(member: Member) -> TracedMember:
    # engines open spans of their own
    return TracedMember(member, own_span=isinstance(member, QueryEngineMember))


def _member(engine: Any, name: str | None) -> Member:
    if isinstance(engine, BaseQueryEngine):
        return QueryEngineMember(engine, name=name)
    return as_member(engine, name=name)

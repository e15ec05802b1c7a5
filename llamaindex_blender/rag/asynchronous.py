"""Find out whether a query engine can run on an event loop without holding it up."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.indices.vector_store import VectorIndexRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from llamaindex_blender.blocking import awaits, blocks_event_loop

__all__ = ["is_asynchronous"]

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
    from llamaindex_blender.rag.query_engine import BlendedQueryEngine

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

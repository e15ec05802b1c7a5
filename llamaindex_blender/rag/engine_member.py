"""A query engine as a member of a blend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.response.schema import AsyncStreamingResponse, PydanticResponse, StreamingResponse
from llama_index.core.prompts.mixin import PromptMixin
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import QueryBundle

from blender_core.errors import ConfigurationError
from blender_core.rag import GroundedCandidate, SourcedMember
from blender_core.types.prompt import Prompt
from llamaindex_blender.rag.asynchronous import is_asynchronous
from llamaindex_blender.rag.nodes import to_source

__all__ = ["QueryEngineMember", "QueryInput"]

_MAX_DEPTH = 4


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
    if depth == _MAX_DEPTH:
        return None
    found = (_writer(inner, depth + 1) for inner in part._get_prompt_modules().values())
    return next((llm for llm in found if llm is not None), None)

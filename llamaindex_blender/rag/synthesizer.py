"""Blend several LLMs that read the nodes of one retriever."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode, get_response_synthesizer
from llama_index.core.schema import NodeWithScore, QueryType
from llama_index.core.types import RESPONSE_TEXT_TYPE
from pydantic import BaseModel

from blender_core.errors import ConfigurationError, MemberError
from blender_core.members.member import Member
from blender_core.rag import GroundedBlender, GroundedCandidate, GroundedResult, GroundedSettings, Source, SourcedMember
from blender_core.rag.blend import GROUNDED_DEFAULTS, with_reserves
from blender_core.runtime.keywords import takes_keywords
from blender_core.runtime.program_end import in_context
from blender_core.types.prompt import Prompt
from llamaindex_blender.blocking import predicts_in_thread
from llamaindex_blender.members import LlamaIndexMember
from llamaindex_blender.rag.text_stream import StreamedText, astream_text, stream_text
from llamaindex_blender.spans import TracedMember

__all__ = ["BlendedSynthesizer"]

_Report = dict[str, Any]
_SYNTHESIZER_OPTIONS = [
    parameter
    for parameter in inspect.signature(get_response_synthesizer).parameters.values()
    if parameter.name != "llm"
]
# the other modes write text whatever the output class
_OBJECT_MODES = (ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE)
# the report of the current call: a synthesizer returns text, and the base class makes the response
_report: contextvars.ContextVar[_Report | None] = contextvars.ContextVar("blended_llm_synthesis", default=None)


class BlendedSynthesizer(BaseSynthesizer):
    """Asks several LLMs with the same nodes, ranks answers by the nodes, fuses the best.

    The nodes are retrieved once. An answer that they do not support ranks behind all that are supported.

    Args:
        llms: The LLMs; a dict gives them names. Each gets its own synthesizer, so there is no argument ``llm``.
        response_mode: How each LLM reads the nodes, as in ``get_response_synthesizer``.
        streaming: Whether to return text in pieces.
        output_cls: Class of an object to return in a ``PydanticResponse``. The best object is picked; objects are not
            fused. An LLM that writes no such object gives no answer.
        callback_manager: Is told of the synthesis; the LLMs keep their own managers.
        **settings: See ``blender_core.rag.GroundedSettings``. ``fuser="llm"`` (default) asks the strongest LLM.
            Further arguments of ``get_response_synthesizer``, such as ``text_qa_template``, can be given too.

    Raises:
        ConfigurationError: There is no LLM, or a setting cannot work; the message says which values can.

    Examples:
        >>> from llama_index.core import Document, SummaryIndex
        >>> from llama_index.core.llms import MockLLM
        >>> synthesizer = BlendedSynthesizer(
        ...     {"short": MockLLM(max_tokens=2), "long": MockLLM(max_tokens=4)}, ranker="longest", fuser=None)
        >>> index = SummaryIndex.from_documents([Document(text="The server listens on port 8080.")])
        >>> response = index.as_query_engine(llm=MockLLM(), response_synthesizer=synthesizer).query("Which port?")
        >>> str(response), response.metadata["blend"]["winner"]
        ('text text text text', 'long')
    """

    @takes_keywords(GroundedSettings, defaults=GROUNDED_DEFAULTS, owner="BlendedSynthesizer", also=_SYNTHESIZER_OPTIONS)
    def __init__(
        self,
        llms: Sequence[LLM] | Mapping[str, LLM],
        *,
        response_mode: ResponseMode | str = ResponseMode.COMPACT,
        streaming: bool = False,
        output_cls: type[BaseModel] | None = None,
        callback_manager: CallbackManager | None = None,
        **settings: Any,
    ) -> None:
        options = {name: value for name, value in settings.items() if name not in GROUNDED_DEFAULTS}
        blend: dict[str, Any] = {name: value for name, value in settings.items() if name in GROUNDED_DEFAULTS}
        named = list(llms.items()) if isinstance(llms, Mapping) else [(LlamaIndexMember(llm).name, llm) for llm in llms]
        if not named:
            raise ConfigurationError("a BlendedSynthesizer needs at least one LLM")
        mode = ResponseMode(response_mode)
        if output_cls is not None:
            _check_objects(mode, blend.get("fuser", "llm"), streaming)
            blend["fuser"] = None
        super().__init__(llm=named[0][1], streaming=streaming, output_cls=output_cls)
        if callback_manager is not None:
            # the base class would set it on the first LLM
            self._callback_manager = callback_manager
        self._synthesizers: list[BaseSynthesizer] = []

        def member(name: str, llm: LLM) -> TracedMember:
            made = get_response_synthesizer(llm=llm, response_mode=mode, output_cls=output_cls, **options)
            self._synthesizers.append(made)
            return TracedMember(_SynthesizerMember(name, made, llm, output_cls), own_span=True)

        members = [member(name, llm) for name, llm in named]
        blend = with_reserves(blend, lambda llm: member(LlamaIndexMember(llm).name, llm))
        self._blender = GroundedBlender(members, **blend)

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order, reserves last."""
        return self._blender.members

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: dict[str, Any]) -> None:
        """Do nothing, because the prompts belong to the LLMs' synthesizers."""

    def _get_prompt_modules(self) -> PromptMixinType:
        return {f"synthesizer_{place}": part for place, part in enumerate(self._synthesizers)}

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer from nodes; ``response.metadata["blend"]`` says who won and why.

        Args:
            query: The query.
            nodes: The nodes.
            additional_source_nodes: Further nodes for the response only.
            **response_kwargs: Passed to each LLM's synthesizer.

        Returns:
            The response.

        Raises:
            QuorumError: Fewer LLMs answered than the quorum. The message names each LLM's cause.
        """
        with _reporting() as report:
            response = super().synthesize(query, nodes, additional_source_nodes, **response_kwargs)
        return _with_report(response, report)

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer from nodes without blocking the event loop; see ``synthesize``."""
        with _reporting() as report:
            response = await super().asynthesize(query, nodes, additional_source_nodes, **response_kwargs)
        return _with_report(response, report)

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:
        """Answer from texts.

        Args:
            query_str: The query.
            text_chunks: The texts.
            **response_kwargs: Passed to each LLM's synthesizer.

        Returns:
            The answer; an object if there is an ``output_cls``, a generator of pieces if streaming.

        Raises:
            QuorumError: Fewer LLMs answered than the quorum. The message names each LLM's cause.
        """
        report, context = _call(query_str, text_chunks, response_kwargs)
        prompt = Prompt.of(query_str)
        if self._streaming:
            return stream_text(self._blender.stream(prompt), StreamedText(partial(_fill, report)), context)
        result = context.run(lambda: self._blender.blend(prompt))
        _fill(report, result)
        return _answer(result)

    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from texts without blocking the event loop; see ``get_response``."""
        report, context = _call(query_str, text_chunks, response_kwargs)
        prompt = Prompt.of(query_str)
        if self._streaming:
            return astream_text(self._blender.astream(prompt), StreamedText(partial(_fill, report)), context)
        result = await in_context(lambda: self._blender.ablend(prompt), context)
        _fill(report, result)
        return _answer(result)


class _SynthesizerMember(SourcedMember):
    """Asks one LLM's synthesizer. Its texts come from a context variable, because a member gets only a prompt."""

    def __init__(
        self, name: str, synthesizer: BaseSynthesizer, llm: BaseLLM, output_cls: type[BaseModel] | None
    ) -> None:
        super().__init__(name, llm=llm)
        self._synthesizer = synthesizer
        self._output_cls = output_cls
        self.blocks_event_loop = predicts_in_thread(llm)

    def answer(self, prompt: Prompt) -> GroundedCandidate:
        query, chunks, options = _read.get()
        return self._candidate(self._synthesizer.get_response(query, chunks, **options), chunks)

    async def aanswer(self, prompt: Prompt) -> GroundedCandidate:
        query, chunks, options = _read.get()
        return self._candidate(await self._synthesizer.aget_response(query, chunks, **options), chunks)

    def _candidate(self, written: RESPONSE_TEXT_TYPE, chunks: Sequence[str]) -> GroundedCandidate:
        if self._output_cls is not None and not isinstance(written, self._output_cls):
            raise MemberError(f"{self.name} wrote no {self._output_cls.__name__}")
        text = written.model_dump_json() if isinstance(written, BaseModel) else str(written)
        # the place keeps chunks with the same text apart: the nodes of the response are not changed
        sources = tuple(Source(chunk, f"chunk-{place}", {"place": place}) for place, chunk in enumerate(chunks))
        return GroundedCandidate(text, sources, written)


# query, texts and options of the current call
_read: contextvars.ContextVar[tuple[str, Sequence[str], Mapping[str, Any]]] = contextvars.ContextVar(
    "blended_llm_synthesis_input"
)


def _call(query: str, chunks: Sequence[str], options: Mapping[str, Any]) -> tuple[_Report | None, contextvars.Context]:
    context = contextvars.copy_context()
    context.run(_read.set, (query, tuple(chunks), options))
    return _report.get(), context


def _check_objects(mode: ResponseMode, fuser: Any, streaming: bool) -> None:
    if mode not in _OBJECT_MODES:
        raise ConfigurationError(
            f"response_mode={mode.value!r} writes text; output_cls needs one of "
            f"{', '.join(each.value for each in _OBJECT_MODES)}"
        )
    if streaming:
        raise ConfigurationError("an object of output_cls comes whole; leave streaming out")
    if fuser not in ("llm", None):
        raise ConfigurationError("with output_cls objects are picked, none are fused; leave fuser out")


def _answer(result: GroundedResult) -> RESPONSE_TEXT_TYPE:
    return result.native if isinstance(result.native, BaseModel) else result.text


@contextmanager
def _reporting() -> Iterator[_Report]:
    report: _Report = {}
    token = _report.set(report)
    try:
        yield report
    finally:
        _report.reset(token)


def _fill(report: _Report | None, result: GroundedResult, rejected_characters: int = 0) -> None:
    if report is not None:
        # a stream ends after its response was made, which holds this dict already
        report.update(result.to_dict(), rejected_characters=rejected_characters)


def _with_report(response: RESPONSE_TYPE, report: _Report) -> RESPONSE_TYPE:
    response.metadata = {**(response.metadata or {}), "blend": report}
    return response

"""What LlamaIndex does with an LLM: settings, events, spans, token counts, query and chat engines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, TokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms.llm import LLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.response_synthesizers import ResponseMode
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers.base import BaseEventHandler

__all__ = ["UseConformance"]

_HELLO = [ChatMessage(role=MessageRole.USER, content="Say hello.")]
_TEXTS = ("The Rhine flows through Cologne.", "The Elbe flows through Dresden.")


class UseConformance:
    """Settings, events, spans, token counts and engines; see ``LLMConformance``."""

    response_modes: tuple[ResponseMode, ...] = tuple(ResponseMode)

    # -- settings ----------------------------------------------------------------------------------------

    def test_settings(self, llm: LLM) -> None:
        """It can be the default LLM."""
        with _default(llm):
            assert Settings.llm is llm
            assert SummaryIndex.from_documents(_documents()).as_query_engine().query("Which rivers?")

    def test_rate_limiter(self, llm: LLM) -> None:
        """A rate limiter is asked before a call."""
        limiter = _Limiter()
        llm.rate_limiter = limiter
        llm.chat(_HELLO)
        asyncio.run(llm.achat(_HELLO))
        assert limiter.asked >= 2

    # -- events ------------------------------------------------------------------------------------------

    def test_chat_events(self, llm: LLM) -> None:
        """A call starts and ends once, in its own span."""
        with _listening() as (events, spans):
            response = llm.chat(_HELLO)
        own = _own(events, spans, llm, "chat")
        assert [type(event) for event in own] == [LLMChatStartEvent, LLMChatEndEvent]
        assert own[-1].response == response

    def test_achat_events(self, llm: LLM) -> None:
        """The same, asynchronously."""
        with _listening() as (events, spans):
            asyncio.run(llm.achat(_HELLO))
        assert [type(e) for e in _own(events, spans, llm, "achat")] == [LLMChatStartEvent, LLMChatEndEvent]

    def test_stream_chat_events(self, llm: LLM) -> None:
        """A stream tells of every piece."""
        with _listening() as (events, spans):
            pieces = list(llm.stream_chat(_HELLO))
        first, *middle, last = _own(events, spans, llm, "stream_chat")
        assert isinstance(first, LLMChatStartEvent)
        assert [event.response for event in middle if isinstance(event, LLMChatInProgressEvent)] == pieces
        assert isinstance(last, LLMChatEndEvent)
        assert last.response == pieces[-1]

    def test_complete_events(self, llm: LLM) -> None:
        """A completion starts and ends once."""
        with _listening() as (events, spans):
            llm.complete("Say hello.")
        own = _own(events, spans, llm, "complete")
        assert [type(event) for event in own] == [LLMCompletionStartEvent, LLMCompletionEndEvent]

    def test_callbacks(self, llm: LLM) -> None:
        """The callback manager hears of every call's start and end."""
        handler = _Handler()
        llm.callback_manager = CallbackManager([handler])
        llm.chat(_HELLO)
        llm.complete("Say hello.")
        list(llm.stream_chat(_HELLO))
        asyncio.run(llm.achat(_HELLO))
        assert handler.started == handler.ended
        assert len(handler.started) >= 4

    def test_token_counts(self, llm: LLM) -> None:
        """Tokens can be counted."""
        counter = TokenCountingHandler(tokenizer=str.split)
        llm.callback_manager = CallbackManager([counter])
        llm.chat(_HELLO)
        assert counter.prompt_llm_token_count > 0
        assert counter.completion_llm_token_count > 0

    # -- engines -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("streaming", [False, True])
    def test_query_engine(self, llm: LLM, streaming: bool) -> None:
        """A query engine works in every response mode."""
        index = SummaryIndex.from_documents(_documents())
        for mode in self.response_modes:
            if streaming and mode in (ResponseMode.ACCUMULATE, ResponseMode.COMPACT_ACCUMULATE):
                continue  # core cannot stream these
            with _default(llm):  # some modes ask for the default LLM beside the one they are given
                engine = index.as_query_engine(llm=llm, response_mode=mode, streaming=streaming)
            response = engine.query("Which rivers are named?")
            text = "".join(response.response_gen) if isinstance(response, StreamingResponse) else str(response)
            assert text or mode is ResponseMode.NO_TEXT, mode
            assert len(response.source_nodes) == len(_TEXTS), mode

    def test_async_query_engine(self, llm: LLM) -> None:
        """So it does asynchronously."""
        index = SummaryIndex.from_documents(_documents())
        engine = index.as_query_engine(llm=llm, response_mode=ResponseMode.TREE_SUMMARIZE, use_async=True)

        async def query() -> Any:
            return await engine.aquery("Which rivers are named?")

        assert str(asyncio.run(query()))

    def test_chat_engine(self, llm: LLM) -> None:
        """A chat engine remembers, whole and in pieces."""
        engine = SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults(token_limit=4000))
        assert engine.chat("Hello").response
        assert "".join(engine.stream_chat("And again").response_gen)
        assert [message.role.value for message in engine.chat_history] == ["user", "assistant"] * 2

        async def again() -> str:
            answer = await engine.astream_chat("And once more")
            return "".join([token async for token in answer.async_response_gen()])

        assert asyncio.run(again())

    @pytest.mark.parametrize("mode", ["context", "condense_plus_context", "condense_question"])
    def test_chat_engine_over_an_index(self, llm: LLM, mode: Any) -> None:
        """A chat engine answers from an index."""
        memory = ChatMemoryBuffer.from_defaults(token_limit=4000)
        engine = SummaryIndex.from_documents(_documents()).as_chat_engine(chat_mode=mode, llm=llm, memory=memory)
        for question in ("Which rivers are named?", "And which towns?"):
            answer = engine.chat(question)
            assert answer.response
        assert answer.source_nodes


class _Recorder(BaseEventHandler):
    events: list[Any] = []  # noqa: RUF012  a pydantic field

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: Any, **_kwargs: Any) -> None:
        self.events.append(event)


class _Handler(BaseCallbackHandler):
    def __init__(self) -> None:
        super().__init__([], [])
        self.started: set[str] = set()
        self.ended: set[str] = set()

    def on_event_start(
        self, event_type: CBEventType, payload: Any = None, event_id: str = "", parent_id: str = "", **kwargs: Any
    ) -> str:
        if event_type == CBEventType.LLM:
            self.started.add(event_id)
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **kwargs: Any) -> None:
        if event_type == CBEventType.LLM:
            self.ended.add(event_id)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Traces are not looked at."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Traces are not looked at."""


class _Limiter(BaseRateLimiter):
    asked: int = 0

    def acquire(self, num_tokens: int = 0) -> None:
        self.asked += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:
        self.asked += 1


@contextmanager
def _listening() -> Iterator[tuple[list[Any], list[Any]]]:
    """Collect events and spans at the root dispatcher."""
    dispatcher = get_dispatcher()
    recorder, spans = _Recorder(events=[]), SimpleSpanHandler()
    dispatcher.add_event_handler(recorder)
    dispatcher.add_span_handler(spans)
    try:
        yield recorder.events, spans.completed_spans
    finally:
        dispatcher.event_handlers.remove(recorder)
        dispatcher.span_handlers.remove(spans)


@contextmanager
def _default(llm: LLM) -> Iterator[None]:
    """The LLM as the default one, for a while."""
    before = Settings._llm
    Settings.llm = llm
    try:
        yield
    finally:
        Settings._llm = before


def _own(events: list[Any], spans: list[Any], llm: LLM, method: str) -> list[Any]:
    """The events of the call itself: not those of calls that it makes in turn."""
    name = f"{type(llm).__name__}.{method}-"
    (span,) = [span for span in spans if span.id_.startswith(name) and span.parent_id is None]
    while True:
        own = [event for event in events if event.span_id == span.id_ and type(event).__name__.startswith("LLM")]
        # an LLM that leaves the call to its base class has a second span of the same name
        inner = [other for other in spans if other.id_.startswith(name) and other.parent_id == span.id_]
        if own or len(inner) != 1:
            return own
        (span,) = inner


def _documents() -> list[Document]:
    return [Document(text=text) for text in _TEXTS]

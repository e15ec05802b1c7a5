"""Test any LlamaIndex LLM against the interface; LlamaIndex itself has no such suite."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
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
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers.base import BaseEventHandler
from pydantic import BaseModel

__all__ = [
    "CallConformance",
    "LLMConformance",
    "ToolConformance",
    "UseConformance",
]

# a PNG of one pixel
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc33"
    "0000000049454e44ae426082"
)


class CallConformance:
    """Tests calls, streams, prompts and copies; see ``LLMConformance``."""

    supports_images: bool = True
    survives_pickle: bool = True
    concurrent_calls: int = 8

    def make_llm(self) -> LLM:
        """Make the LLM under test; your subclass overrides this."""
        raise NotImplementedError("write make_llm() -> LLM in your test class")

    @pytest.fixture
    def llm(self) -> LLM:
        """The LLM under test."""
        return self.make_llm()

    def conversation(self) -> list[ChatMessage]:
        """Return turns that every LLM understands."""
        return [
            ChatMessage(role=MessageRole.SYSTEM, content="You are brief."),
            ChatMessage(role=MessageRole.USER, content="Say hello to Zoë."),
            ChatMessage(role=MessageRole.ASSISTANT, content="Hello Zoë."),
            ChatMessage(role=MessageRole.USER, content="Now say goodbye to her."),
        ]

    # -- metadata ----------------------------------------------------------------------------------------

    def test_metadata(self, llm: LLM) -> None:
        """Metadata is complete and the same each time."""
        metadata = llm.metadata
        assert isinstance(metadata, LLMMetadata)
        assert metadata.context_window > 0
        assert isinstance(metadata.model_name, str)
        assert llm.metadata == metadata

    def test_class_name_and_dict(self, llm: LLM) -> None:
        """The serialised form names the class."""
        assert llm.class_name()
        assert llm.to_dict()["class_name"] == llm.class_name()

    def test_payload_for_observability(self, llm: LLM) -> None:
        """The payload of events names class and model."""
        payload = llm.to_payload()
        assert payload["class_name"] == llm.class_name()
        assert payload["model_name"] == llm.metadata.model_name
        assert "api_key" not in payload

    # -- calls -------------------------------------------------------------------------------------------

    def test_complete(self, llm: LLM) -> None:
        """A prompt is answered in text."""
        response = llm.complete("Say hello.")
        assert isinstance(response, CompletionResponse)
        assert response.text

    def test_acomplete(self, llm: LLM) -> None:
        """The same, asynchronously."""
        response = asyncio.run(llm.acomplete("Say hello."))
        assert isinstance(response, CompletionResponse)
        assert response.text

    def test_complete_by_keyword(self, llm: LLM) -> None:
        """The prompt may be a keyword, and already formatted."""
        assert llm.complete(prompt="Say hello.", formatted=True).text

    def test_chat(self, llm: LLM) -> None:
        """A conversation is answered by the assistant."""
        _is_answer(llm.chat(self.conversation()))

    def test_achat(self, llm: LLM) -> None:
        """The same, asynchronously."""
        _is_answer(asyncio.run(llm.achat(self.conversation())))

    def test_chat_leaves_its_input_alone(self, llm: LLM) -> None:
        """A call does not change the caller's messages."""
        messages = self.conversation()
        before = copy.deepcopy(messages)
        llm.chat(messages)
        assert messages == before

    def test_stream_complete(self, llm: LLM) -> None:
        """Pieces add up to the text."""
        _adds_up([(piece.delta, piece.text) for piece in llm.stream_complete("Say hello.")])

    def test_astream_complete(self, llm: LLM) -> None:
        """The same, asynchronously."""

        async def collect() -> list[Any]:
            return await _collected(await llm.astream_complete("Say hello."))

        _adds_up([(piece.delta, piece.text) for piece in asyncio.run(collect())])

    def test_stream_chat(self, llm: LLM) -> None:
        """Pieces add up to the message."""
        pieces = list(llm.stream_chat(self.conversation()))
        assert pieces[-1].message.role == MessageRole.ASSISTANT
        _adds_up([(piece.delta, piece.message.content) for piece in pieces])

    def test_astream_chat(self, llm: LLM) -> None:
        """The same, asynchronously."""

        async def collect() -> list[Any]:
            return await _collected(await llm.astream_chat(self.conversation()))

        pieces = asyncio.run(collect())
        assert pieces[-1].message.role == MessageRole.ASSISTANT
        _adds_up([(piece.delta, piece.message.content) for piece in pieces])

    def test_a_stream_can_be_left(self, llm: LLM) -> None:
        """A stream may be closed after its first piece, and the LLM still answers."""
        stream = llm.stream_chat(self.conversation())
        next(stream)
        stream.close()
        _is_answer(llm.chat(self.conversation()))

    def test_blocks(self, llm: LLM) -> None:
        """A message may have several blocks of text."""
        blocks = [TextBlock(text="Say hello."), TextBlock(text="Be brief.")]
        _is_answer(llm.chat([ChatMessage(role=MessageRole.USER, blocks=blocks)]))

    def test_images(self, llm: LLM) -> None:
        """A message may have an image and a text."""
        if not self.supports_images:
            pytest.skip("supports_images is False")
        blocks = [TextBlock(text="What is this?"), ImageBlock(image=_PIXEL)]
        message = ChatMessage(role=MessageRole.USER, blocks=blocks)
        before = message.model_dump()
        _is_answer(llm.chat([message]))
        assert message.model_dump() == before

    # -- prompts -----------------------------------------------------------------------------------------

    def test_predict(self, llm: LLM) -> None:
        """A template is filled in and answered in text."""
        assert llm.predict(PromptTemplate("Say hello to {name}."), name="Zoë")
        assert asyncio.run(llm.apredict(PromptTemplate("Say hello to {name}."), name="Zoë"))

    def test_predict_with_chat_template(self, llm: LLM) -> None:
        """So is a template of messages."""
        template = ChatPromptTemplate(message_templates=self.conversation())
        assert llm.predict(template)

    def test_stream_prompt(self, llm: LLM) -> None:
        """The answer to a template comes in pieces."""

        async def collect() -> list[Any]:
            return await _collected(await llm.astream(PromptTemplate("Say hello to {name}."), name="Zoë"))

        assert "".join(llm.stream(PromptTemplate("Say hello to {name}."), name="Zoë"))
        assert "".join(asyncio.run(collect()))

    # -- use ---------------------------------------------------------------------------------------------

    def test_threads(self, llm: LLM) -> None:
        """One object serves several threads."""
        with ThreadPoolExecutor(self.concurrent_calls) as pool:
            for response in pool.map(llm.chat, [self.conversation()] * self.concurrent_calls):
                _is_answer(response)

    def test_tasks(self, llm: LLM) -> None:
        """One object serves several tasks, and then another event loop."""

        async def together() -> list[ChatResponse]:
            return await asyncio.gather(*(llm.achat(self.conversation()) for _ in range(self.concurrent_calls)))

        for _ in range(2):
            for response in asyncio.run(together()):
                _is_answer(response)

    def test_chat_inside_an_event_loop(self, llm: LLM) -> None:
        """The blocking call works in a notebook."""

        async def notebook() -> ChatResponse:
            return llm.chat(self.conversation())

        _is_answer(asyncio.run(notebook()))

    def test_deepcopy(self, llm: LLM) -> None:
        """A copy answers."""
        _is_answer(copy.deepcopy(llm).chat(self.conversation()))

    def test_pickle(self, llm: LLM) -> None:
        """So does an LLM that was pickled."""
        if not self.survives_pickle:
            pytest.skip("survives_pickle is False")
        loaded = pickle.loads(pickle.dumps(llm))
        assert loaded.metadata == llm.metadata
        _is_answer(loaded.chat(self.conversation()))


def _is_answer(response: ChatResponse) -> None:
    assert isinstance(response, ChatResponse)
    assert response.message.role == MessageRole.ASSISTANT
    assert response.message.content


def _adds_up(pieces: Iterable[tuple[str | None, str | None]]) -> None:
    """The deltas add up to the text of the last piece."""
    deltas, texts = zip(*pieces, strict=True)
    assert "".join(delta or "" for delta in deltas) == texts[-1]
    assert texts[-1]


async def _collected(stream: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in stream]


class Greeting(BaseModel):
    """A greeting for somebody."""

    name: str = "Zoë"
    words: str = "Hello"


def add(a: int = 2, b: int = 3) -> int:
    """Add two whole numbers."""
    return a + b


_QUESTION = "What is 2 + 3? Use the tool add."
_GREET = PromptTemplate("Write a greeting for {name}.")


class ToolConformance:
    """Tests tools and structured output; see ``LLMConformance``."""

    streams_structured_output: bool = True

    @pytest.fixture
    def tool_llm(self, llm: LLM) -> FunctionCallingLLM:
        """The LLM, if its metadata says that it calls functions; else the test is skipped."""
        if not (isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model):
            pytest.skip("not a function-calling LLM")
        return llm

    @pytest.fixture
    def tool(self) -> FunctionTool:
        """A tool whose arguments have defaults."""
        return FunctionTool.from_defaults(add)

    # -- tools -------------------------------------------------------------------------------------------

    def test_chat_with_tools(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """The answer is a call of the tool."""
        response = tool_llm.chat_with_tools([tool], user_msg=_QUESTION, tool_required=True)
        _calls_add(tool_llm.get_tool_calls_from_response(response))

    def test_achat_with_tools(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """The same, asynchronously, with a history."""
        history = [ChatMessage(role=MessageRole.USER, content=_QUESTION)]
        response = asyncio.run(tool_llm.achat_with_tools([tool], chat_history=history, tool_required=True))
        _calls_add(tool_llm.get_tool_calls_from_response(response))
        assert [message.content for message in history] == [_QUESTION]

    def test_stream_chat_with_tools(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """The last piece of a stream holds the call."""
        *_, last = tool_llm.stream_chat_with_tools([tool], user_msg=_QUESTION, tool_required=True)
        _calls_add(tool_llm.get_tool_calls_from_response(last))

    def test_astream_chat_with_tools(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """The same, asynchronously."""

        async def last() -> Any:
            stream = await tool_llm.astream_chat_with_tools([tool], user_msg=_QUESTION, tool_required=True)
            return (await _collected(stream))[-1]

        _calls_add(tool_llm.get_tool_calls_from_response(asyncio.run(last())))

    def test_one_call_where_one_is_allowed(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """If parallel calls are not allowed, there is one."""
        response = tool_llm.chat_with_tools(
            [tool], user_msg=_QUESTION, tool_required=True, allow_parallel_tool_calls=False
        )
        assert len(tool_llm.get_tool_calls_from_response(response)) == 1

    def test_no_tool_call(self, tool_llm: FunctionCallingLLM) -> None:
        """An answer in text has no calls."""
        response = tool_llm.chat([ChatMessage(role=MessageRole.USER, content="Say hello.")])
        assert tool_llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []

    def test_tool_result(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """The LLM answers after the tool's result."""
        question = ChatMessage(role=MessageRole.USER, content=_QUESTION)
        response = tool_llm.chat_with_tools([tool], chat_history=[question], tool_required=True)
        (call,) = tool_llm.get_tool_calls_from_response(response)
        result = ChatMessage(
            role=MessageRole.TOOL, content="5", additional_kwargs={"tool_call_id": call.tool_id, "name": "add"}
        )
        answer = tool_llm.chat_with_tools([tool], chat_history=[question, response.message, result])
        assert answer.message.role == MessageRole.ASSISTANT
        # a message may come from a chat store
        stored = ChatMessage.model_validate_json(response.message.model_dump_json())
        assert tool_llm.chat_with_tools([tool], chat_history=[question, stored, result]).message is not None

    def test_predict_and_call(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """The tool is run."""
        for answer in (
            tool_llm.predict_and_call([tool], user_msg=_QUESTION, tool_required=True),
            asyncio.run(tool_llm.apredict_and_call([tool], user_msg=_QUESTION, tool_required=True)),
        ):
            assert [source.tool_name for source in answer.sources] == ["add"]
            assert answer.response == str(answer.sources[0].raw_output)

    # -- agents ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("streaming", [True, False])
    def test_function_agent(self, tool_llm: FunctionCallingLLM, tool: FunctionTool, streaming: bool) -> None:
        """An agent runs the tool and answers."""
        agent = FunctionAgent(tools=[tool], llm=tool_llm, streaming=streaming, initial_tool_choice="add")

        async def run() -> Any:
            return await agent.run(_QUESTION, memory=ChatMemoryBuffer.from_defaults(token_limit=4000))

        output = asyncio.run(run())
        assert "add" in [call.tool_name for call in output.tool_calls]
        assert output.response.content

    def test_agent_workflow(self, tool_llm: FunctionCallingLLM) -> None:
        """So does a workflow of agents."""
        workflow = AgentWorkflow.from_tools_or_functions([add], llm=tool_llm)

        async def run() -> Any:
            return await workflow.run(_QUESTION, memory=ChatMemoryBuffer.from_defaults(token_limit=4000))

        assert asyncio.run(run()).response.role == MessageRole.ASSISTANT

    # -- structured output -------------------------------------------------------------------------------

    def test_structured_predict(self, tool_llm: FunctionCallingLLM) -> None:
        """An object of the class comes back."""
        assert isinstance(tool_llm.structured_predict(Greeting, _GREET, name="Zoë"), Greeting)

    def test_astructured_predict(self, tool_llm: FunctionCallingLLM) -> None:
        """The same, asynchronously."""
        assert isinstance(asyncio.run(tool_llm.astructured_predict(Greeting, _GREET, name="Zoë")), Greeting)

    def test_stream_structured_predict(self, tool_llm: FunctionCallingLLM) -> None:
        """The last object of a stream is one of the class."""
        if not self.streams_structured_output:
            pytest.skip("streams_structured_output is False")
        *_, last = tool_llm.stream_structured_predict(Greeting, _GREET, name="Zoë")
        assert isinstance(last, Greeting)

    def test_astream_structured_predict(self, tool_llm: FunctionCallingLLM) -> None:
        """The same, asynchronously."""
        if not self.streams_structured_output:
            pytest.skip("streams_structured_output is False")

        async def last() -> Any:
            return (await _collected(await tool_llm.astream_structured_predict(Greeting, _GREET, name="Zoë")))[-1]

        assert isinstance(asyncio.run(last()), Greeting)

    def test_structured_llm(self, tool_llm: FunctionCallingLLM) -> None:
        """As a structured LLM, every answer is an object."""
        structured = tool_llm.as_structured_llm(Greeting)
        message = ChatMessage(role=MessageRole.USER, content="Write a greeting for Zoë.")
        assert isinstance(structured.chat([message]).raw, Greeting)
        assert isinstance(asyncio.run(structured.achat([message])).raw, Greeting)
        assert isinstance(structured.complete("Write a greeting for Zoë.").raw, Greeting)

    def test_structured_llm_streams(self, tool_llm: FunctionCallingLLM) -> None:
        """So is the last piece of its streams."""
        if not self.streams_structured_output:
            pytest.skip("streams_structured_output is False")
        structured = tool_llm.as_structured_llm(Greeting)
        message = ChatMessage(role=MessageRole.USER, content="Write a greeting for Zoë.")

        async def last() -> Any:
            return (await _collected(await structured.astream_chat([message])))[-1]

        *_, piece = structured.stream_chat([message])
        assert isinstance(piece.raw, Greeting)
        assert isinstance(asyncio.run(last()).raw, Greeting)


def _calls_add(calls: list[ToolSelection]) -> None:
    assert [call.tool_name for call in calls] == ["add"]
    assert isinstance(calls[0].tool_kwargs, dict)
    assert isinstance(calls[0].tool_id, str)


_HELLO = [ChatMessage(role=MessageRole.USER, content="Say hello.")]
_TEXTS = ("The Rhine flows through Cologne.", "The Elbe flows through Dresden.")


class UseConformance:
    """Tests settings, events, spans, token counts and engines; see ``LLMConformance``."""

    response_modes: tuple[ResponseMode, ...] = tuple(ResponseMode)

    # -- settings ----------------------------------------------------------------------------------------

    def test_settings(self, llm: LLM) -> None:
        """It can be the default LLM."""
        with _default(llm):
            assert Settings.llm is llm
            assert SummaryIndex.from_documents(_documents()).as_query_engine().query("Which rivers?")

    def test_rate_limiter(self, llm: LLM) -> None:
        """The rate limiter is asked before each call."""
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
        """A stream reports every piece."""
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
        """The callback manager is told of every call's start and end."""
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
            with _default(llm):  # some modes also use the default LLM
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
        """Ignore traces."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Ignore traces."""


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
    """Make the LLM the default for a while."""
    before = Settings._llm
    Settings.llm = llm
    try:
        yield
    finally:
        Settings._llm = before


def _own(events: list[Any], spans: list[Any], llm: LLM, method: str) -> list[Any]:
    """The events of the call itself, without those of its inner calls."""
    name = f"{type(llm).__name__}.{method}-"
    (span,) = [span for span in spans if span.id_.startswith(name) and span.parent_id is None]
    while True:
        own = [event for event in events if event.span_id == span.id_ and type(event).__name__.startswith("LLM")]
        # an LLM that calls its base class has a second span of the same name
        inner = [other for other in spans if other.id_.startswith(name) and other.parent_id == span.id_]
        if own or len(inner) != 1:
            return own
        (span,) = inner


def _documents() -> list[Document]:
    return [Document(text=text) for text in _TEXTS]


class LLMConformance(CallConformance, ToolConformance, UseConformance):
    """Tests the interface of a LlamaIndex LLM.

    Subclass it under a name that pytest collects, and write ``make_llm``. All arguments of the suite's tools have
    defaults, so scripted LLMs can call them. Tests of tools and structured output are skipped if the LLM's metadata
    says that it calls no functions. No pytest plugin is needed.

    Attributes:
        supports_images: Whether messages may have images.
        survives_pickle: Whether the LLM can be pickled.
        streams_structured_output: Whether ``stream_structured_predict`` ends in an object of the class. Core's own
            ``MockFunctionCallingLLM`` does not.
        concurrent_calls: Number of calls at the same time in the tests of threads and tasks.
        response_modes: Response modes of the query engines to test.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> class TestMyLLM(LLMConformance):
        ...     def make_llm(self):
        ...         return MockLLM()
    """

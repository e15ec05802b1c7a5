"""What a function-calling LLM does: call tools, go on with their results, write structured output."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

__all__ = ["ToolConformance"]


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
    """Tools and structured output; see ``LLMConformance``."""

    streams_structured_output: bool = True

    @pytest.fixture
    def tool_llm(self, llm: LLM) -> FunctionCallingLLM:
        """The LLM, where its metadata says that it calls functions."""
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
        """Without leave for parallel calls there is one."""
        response = tool_llm.chat_with_tools(
            [tool], user_msg=_QUESTION, tool_required=True, allow_parallel_tool_calls=False
        )
        assert len(tool_llm.get_tool_calls_from_response(response)) == 1

    def test_no_tool_call(self, tool_llm: FunctionCallingLLM) -> None:
        """An answer in text has no calls."""
        response = tool_llm.chat([ChatMessage(role=MessageRole.USER, content="Say hello.")])
        assert tool_llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []

    def test_tool_result(self, tool_llm: FunctionCallingLLM, tool: FunctionTool) -> None:
        """The conversation goes on with the tool's result."""
        question = ChatMessage(role=MessageRole.USER, content=_QUESTION)
        response = tool_llm.chat_with_tools([tool], chat_history=[question], tool_required=True)
        (call,) = tool_llm.get_tool_calls_from_response(response)
        result = ChatMessage(
            role=MessageRole.TOOL, content="5", additional_kwargs={"tool_call_id": call.tool_id, "name": "add"}
        )
        answer = tool_llm.chat_with_tools([tool], chat_history=[question, response.message, result])
        assert answer.message.role == MessageRole.ASSISTANT
        # a message survives a chat store
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


async def _collected(stream: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in stream]

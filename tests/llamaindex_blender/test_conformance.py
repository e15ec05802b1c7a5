"""One suite for core's own mocks and for the blend: the blend differs in nothing from a plain LLM."""

from contextlib import nullcontext
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from pydantic import PrivateAttr

from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM
from llamaindex_blender.testing import LLMConformance, ScriptedLLM, call_first_tool

# LlamaIndex's own code calls what pydantic deprecates
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


class CopyableChatModel(FakeChatModel):
    """Without the lock, which can be neither copied nor pickled."""

    _lock: Any = PrivateAttr(default_factory=nullcontext)


def langchain_step(call):
    """The first tool with no arguments, then text: what ``call_first_tool`` does, in LangChain's messages."""
    tools = call.options.get("tools")
    if not tools or any(message.type == "tool" for message in call.messages):
        return "All done; the tool has answered, and that is a longer text."
    name = tools[0]["function"]["name"]
    return AIMessage(content="", tool_calls=[{"name": name, "args": {}, "id": "lc-1", "type": "tool_call"}])


class TestMockLLM(LLMConformance):
    def make_llm(self):
        return MockLLM()


class TestMockFunctionCallingLLM(LLMConformance):
    # its calls stand in blocks alone, which core's streaming does not look at
    streams_structured_output = False

    def make_llm(self):
        return MockFunctionCallingLLM()


class TestBlend(LLMConformance):
    def make_llm(self):
        members = [ScriptedLLM(script=[call_first_tool], model=name) for name in "abc"]
        return BlendedLLM(llms=members, ranker="consensus", fuse_when="always")


class TestBlendOfMocks(LLMConformance):
    def make_llm(self):
        members = [MockFunctionCallingLLM(), MockFunctionCallingLLM(), MockLLM()]
        return BlendedLLM(llms=members, ranker="longest", fuser=None)


class TestBlendWithLangChainMember(LLMConformance):
    def make_llm(self):
        members = [ScriptedLLM(script=[call_first_tool]), CopyableChatModel(script=[langchain_step])]
        return BlendedLLM(llms=members, ranker="longest", fuse_when="always")

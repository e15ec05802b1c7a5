"""The suite that every LLM is held to, on real local models and on a blend of them.

Answers are short and only two response modes are tried: the rest runs on scripted members in ``test_conformance.py``.
"""

from __future__ import annotations

import gc
from typing import ClassVar

import pytest
from llama_index.core.llms.llm import LLM
from llama_index.core.response_synthesizers import ResponseMode

from llamaindex_blender import BlendedLLM, open_llms
from llamaindex_blender.testing import LLMConformance
from llamaindex_blender.testing.conformance import CallConformance, ToolConformance, UseConformance

pytestmark = [
    pytest.mark.local_models,
    pytest.mark.slow,
    # LlamaIndex's own code calls what pydantic deprecates
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    # and leaves clients to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

TALKER, TOOL_CALLER, BASE = "smollm2-135m", "qwen2.5-coder-0.5b", "gemma-3-270m"


class LocalModels:
    llms: ClassVar[dict[str, LLM]] = {}

    # the models read text only
    supports_images = False
    # as many as a server answers at the same time
    concurrent_calls = 2
    response_modes = (ResponseMode.COMPACT, ResponseMode.TREE_SUMMARIZE)

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls, remembered_models):
        pytest.importorskip("llama_index.llms.openai_like", reason="comes with the extra all")
        with open_llms(remembered_models) as llms:
            cls.llms = {llm.metadata.model_name: llm for llm in llms}
            yield
        # clients that LlamaIndex does not close go here, where the warning is not an error
        cls.llms = {}
        gc.collect()

    def member(self, name):
        # a call of a tool is longer than what is asserted of a text
        return self.llms[name].model_copy(update={"max_tokens": 40 if name == TOOL_CALLER else 6})


class TestModelThatTalks(LocalModels, LLMConformance):
    def make_llm(self):
        return self.member(TALKER)


class TestModelThatCallsTools(LocalModels, ToolConformance):
    @pytest.fixture
    def llm(self):
        return self.member(TOOL_CALLER)


class TestBlendThatTalks(LocalModels, CallConformance, UseConformance):
    def make_llm(self):
        members = [self.member(TALKER), self.member(BASE)]
        return BlendedLLM(llms=members, fuser=self.member(TALKER), timeout=120)


class TestBlendThatCallsTools(LocalModels, ToolConformance):
    @pytest.fixture
    def llm(self):
        members = [self.member(TALKER), self.member(TOOL_CALLER)]
        return BlendedLLM(llms=members, fuser=self.member(TALKER), timeout=120)

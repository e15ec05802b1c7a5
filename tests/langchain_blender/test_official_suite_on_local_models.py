"""The official integration suite on real local models, as far as such small models can go.

Tools and structured output ask for more than the default local models can do; they run against scripted members.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_blender import BlendedLLM
from langchain_blender.local import open_chat_models

pytestmark = [
    pytest.mark.local_models,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"),
]


class TestIntegration(ChatModelIntegrationTests):
    members: ClassVar[list[BaseChatModel]] = []

    has_tool_calling = False
    has_structured_output = False
    supports_model_override = False

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls, remembered_models):
        pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
        # the two smallest
        small = [endpoint for endpoint in remembered_models if "qwen" not in endpoint.model]
        with open_chat_models(small, max_tokens=8) as cls.members:
            yield

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return BlendedLLM

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"llms": self.members, "timeout": 120, "max_tokens": 8}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "stop": [], "max_retries": 2}

"""The official langchain-tests suites, every capability flag on, against scripted members."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel, FakeListLLM
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from blender_core.testing import FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.testing import FakeChatModel

from .schema_following import follow_schema

# test_stream_time uses its benchmark only with a recorded cassette
pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")


class EveryFlag:
    """All capabilities but one: a blend has no ``model`` to override for a call."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return BlendedLLM

    @property
    def chat_model_params(self) -> dict[str, Any]:
        styles = ("short", "rather longer", "the longest of them all")
        members = [FakeChatModel(script=[follow_schema(style)], model_name=style) for style in styles]
        return {"llms": members, "ranker": FakeRanker(), "fuse_when": "always"}

    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_pdf_inputs = True
    supports_audio_inputs = True
    supports_video_inputs = True
    supports_anthropic_inputs = True
    supports_image_tool_message = True
    supports_pdf_tool_message = True
    returns_usage_metadata = True
    enable_vcr_tests = True
    # the members are different models, so there is no one name to put in their place
    supports_model_override = False


class TestUnit(EveryFlag, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        environment = {
            "BLENDED_LLM_RANKER": "consensus",
            "BLENDED_LLM_TOP_K": "2",
            "BLENDED_LLM_TIMEOUT": "12.5",
            "BLENDED_LLM_DEADLINE": "30",
        }
        expected = {"ranker": "consensus", "top_k": 2, "timeout": 12.5, "deadline": 30.0}
        return environment, {"llms": [FakeChatModel()]}, expected

    @pytest.mark.xfail(reason="it allows classes of langchain-core's own list only; see test_serialization.py")
    def test_serdes(self, model: BaseChatModel, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)


@pytest.fixture
def offline(monkeypatch):
    """The multimodal tests fetch samples; any bytes will do for members that follow a script."""
    answer = httpx.Response(200, content=b"sample", request=httpx.Request("GET", "https://example.org"))
    monkeypatch.setattr(httpx, "get", lambda *args, **kwargs: answer)
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "blended-llm tests")


@pytest.mark.usefixtures("offline")
class TestIntegration(EveryFlag, ChatModelIntegrationTests):
    pass


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore:.*cannot call tools and take no part")
class TestIntegrationWithMixedMembers(EveryFlag, ChatModelIntegrationTests):
    """A model without tools, a completion LLM, one that fails and a retrying chain beside two that work."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        good = [FakeChatModel(script=[follow_schema(style)], model_name=style) for style in ("a", "b b")]
        members = [
            good[0],
            FakeChatModel(script=["I call no tools at all."], model_name="toolless", tools=False),
            FakeListLLM(responses=["A completion."]),
            FakeChatModel(script=[ValueError("broken")], model_name="broken"),
            good[1].with_retry(),
        ]
        return {"llms": members, "ranker": FakeRanker(), "fuse_when": "always"}

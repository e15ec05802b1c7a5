"""A member of a blend as a LlamaIndex LLM, so that the measurement needs no integration package."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback

from blender_core import Member, Prompt


class MemberLLM(CustomLLM):
    """Completes through a member."""

    _member: Member = PrivateAttr()

    def __init__(self, member: Member, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._member = member

    @property
    def metadata(self) -> LLMMetadata:
        """The member's name, a window that fits the passages."""
        return LLMMetadata(model_name=self._member.name, context_window=2048, num_output=64)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Ask the member."""
        return CompletionResponse(text=self._member.generate(Prompt.of(prompt)).text)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Ask the member; one piece."""
        yield self.complete(prompt, formatted, **kwargs)

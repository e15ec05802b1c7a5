"""A suite that any LlamaIndex LLM can be held to; LlamaIndex itself has none."""

from __future__ import annotations

from llamaindex_blender.testing.conformance_calls import CallConformance
from llamaindex_blender.testing.conformance_tools import ToolConformance
from llamaindex_blender.testing.conformance_use import UseConformance

__all__ = ["LLMConformance"]


class LLMConformance(CallConformance, ToolConformance, UseConformance):
    """Tests over the interface of a LlamaIndex LLM, to be mixed into a pytest class.

    Subclass it under a name that pytest collects, and write ``make_llm``. Tools of the suite have defaults for all
    arguments, so that scripted LLMs can call them. Tests of tools and structured output are skipped where the
    LLM's metadata says that it calls no functions. No plugin of pytest is needed.

    Attributes:
        supports_images: Messages may hold images.
        survives_pickle: The LLM can be pickled.
        streams_structured_output: ``stream_structured_predict`` ends in an object of the class. Core's own
            ``MockFunctionCallingLLM`` does not.
        concurrent_calls: Calls made at the same time in the tests of threads and tasks.
        response_modes: Response modes of query engines to be tried.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> class TestMyLLM(LLMConformance):
        ...     def make_llm(self):
        ...         return MockLLM()
    """

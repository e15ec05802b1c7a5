"""Test LlamaIndex code with a scripted LLM, and any LlamaIndex LLM with a test suite.

Examples:
    >>> from llamaindex_blender.testing import ScriptedLLM
    >>> ScriptedLLM(script=["Hello"]).complete("Hi").text
    'Hello'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from llamaindex_blender.testing.conformance import LLMConformance
    from llamaindex_blender.testing.scripted_llm import ScriptedCall, ScriptedLLM, call_first_tool

_HOMES = {
    "llamaindex_blender.testing.conformance": "LLMConformance",
    "llamaindex_blender.testing.scripted_llm": "ScriptedCall ScriptedLLM call_first_tool",
}

__all__ = ["LLMConformance", "ScriptedCall", "ScriptedLLM", "call_first_tool"]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

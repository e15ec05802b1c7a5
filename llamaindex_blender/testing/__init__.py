"""For tests: an LLM that follows a script, and a suite that any LlamaIndex LLM can be held to.

Examples:
    >>> from llamaindex_blender.testing import ScriptedLLM
    >>> ScriptedLLM(script=["Hello"]).complete("Hi").text
    'Hello'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llamaindex_blender.testing.conformance import LLMConformance
    from llamaindex_blender.testing.scripted_llm import ScriptedCall, ScriptedLLM, call_first_tool

_HOMES = {
    "LLMConformance": "conformance",
    "ScriptedCall": "scripted_llm",
    "ScriptedLLM": "scripted_llm",
    "call_first_tool": "scripted_llm",
}

__all__ = ["LLMConformance", "ScriptedCall", "ScriptedLLM", "call_first_tool"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)

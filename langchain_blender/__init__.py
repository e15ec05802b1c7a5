"""Blend several LLMs into one LangChain chat model.

Names are imported at their first use, as in ``langchain_core``.

Examples:
    >>> from langchain_core.language_models import FakeListChatModel
    >>> from langchain_blender import BlendedLLM
    >>> llm = BlendedLLM(llms=[FakeListChatModel(responses=["Paris"])], fuser=None)
    >>> llm.invoke("Capital of France?").text
    'Paris'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.extras import require_installed
from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_blender.chat_model import BlendedLLM
    from langchain_blender.local import local_chat_models, open_chat_models
    from langchain_blender.members import LangChainMember

_HOMES = {
    "langchain_blender.chat_model": "BlendedLLM",
    "langchain_blender.local": "local_chat_models open_chat_models",
    "langchain_blender.members": "LangChainMember",
}

__all__ = ["BlendedLLM", "LangChainMember", "local_chat_models", "open_chat_models"]


# checked here, because the error of a module below says less
require_installed("langchain_core", feature="langchain_blender", extra="langchain")

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

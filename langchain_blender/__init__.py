"""Blend several LLMs into one LangChain chat model.

Names are loaded when they are first used, as in ``langchain_core``.

Examples:
    >>> from langchain_core.language_models import FakeListChatModel
    >>> from langchain_blender import BlendedLLM
    >>> llm = BlendedLLM(llms=[FakeListChatModel(responses=["Paris"])], fuser=None)
    >>> llm.invoke("Capital of France?").text
    'Paris'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from blender_core.extras import require_installed

if TYPE_CHECKING:
    from langchain_blender.chat_model import BlendedLLM
    from langchain_blender.local import local_chat_models, open_chat_models
    from langchain_blender.members import LangChainMember

_HOMES = {
    "BlendedLLM": "chat_model",
    "LangChainMember": "members",
    "local_chat_models": "local",
    "open_chat_models": "local",
}

__all__ = ["BlendedLLM", "LangChainMember", "local_chat_models", "open_chat_models"]


# every module below needs it, and would say less
require_installed("langchain_core", feature="langchain_blender", extra="langchain")


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)

"""Blend several LLMs into one LangChain chat model.

Example:
    >>> from langchain_core.language_models import FakeListChatModel
    >>> llm = BlendedLLM(llms=[FakeListChatModel(responses=["Paris"])], fuser=None)
    >>> llm.invoke("Capital of France?").text
    'Paris'
"""

from __future__ import annotations

from langchain_blender.chat_model import BlendedLLM
from langchain_blender.members import LangChainMember

__all__ = ["BlendedLLM", "LangChainMember"]

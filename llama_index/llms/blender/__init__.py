"""Export ``BlendedLLM`` under the import path of LlamaIndex integrations.

Examples:
    >>> from llama_index.llms.blender import BlendedLLM
    >>> BlendedLLM.class_name()
    'BlendedLLM'
"""

from __future__ import annotations

from llamaindex_blender.llm import BlendedLLM

__all__ = ["BlendedLLM"]

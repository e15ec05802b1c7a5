"""``BlendedLLM`` where LlamaIndex users look for it; the code is in ``llamaindex_blender``.

Examples:
    >>> from llama_index.llms.blender import BlendedLLM
    >>> BlendedLLM.class_name()
    'BlendedLLM'
"""

from __future__ import annotations

from llamaindex_blender.llm import BlendedLLM

__all__ = ["BlendedLLM"]

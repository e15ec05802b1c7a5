"""Blend several LLMs into one LlamaIndex LLM, and use LlamaIndex LLMs as members.

Names are imported at their first use: importing this package loads no LlamaIndex.

Examples:
    >>> from llama_index.core.llms import MockLLM
    >>> from llamaindex_blender import BlendedLLM
    >>> BlendedLLM(llms=[MockLLM(max_tokens=1)], fuser=None).complete("Capital of France?").text
    'text'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.extras import require_installed
from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from llamaindex_blender.llm import BlendedLLM
    from llamaindex_blender.local import local_llms, open_llms
    from llamaindex_blender.members import LlamaIndexMember

__all__ = ["BlendedLLM", "LlamaIndexMember", "local_llms", "open_llms"]

_HOMES = {
    "llamaindex_blender.llm": "BlendedLLM",
    "llamaindex_blender.local": "local_llms open_llms",
    "llamaindex_blender.members": "LlamaIndexMember",
}


# checked here, because the error of a module below says less
require_installed("llama_index.core", feature="llamaindex_blender", extra="llamaindex")

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

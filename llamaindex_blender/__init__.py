"""LlamaIndex LLMs as members of a blend, found by the engine through its entry points.

The blend itself as a LlamaIndex LLM is not here yet. Importing this package loads no LlamaIndex.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llamaindex_blender.local import local_llms
    from llamaindex_blender.members import LlamaIndexMember

__all__ = ["LlamaIndexMember", "local_llms"]

_HOMES = {"LlamaIndexMember": "members", "local_llms": "local"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)

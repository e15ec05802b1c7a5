"""Turn LLMs and endpoints into the members of an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.members.adapters import ENTRY_POINT_GROUP, as_members
    from blender_core.members.endpoints import Endpoint, open_endpoints, open_members

_HOMES = {
    "blender_core.members.adapters": "ENTRY_POINT_GROUP as_members",
    "blender_core.members.endpoints": "Endpoint open_endpoints open_members",
}

__all__ = [
    "ENTRY_POINT_GROUP",
    "Endpoint",
    "as_members",
    "open_endpoints",
    "open_members",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

"""Fuse the best candidates into one answer, if the policy says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.fuse.guard import FusionGuard
    from blender_core.fuse.llm_fuser import LLMFuser
    from blender_core.fuse.policy import Decision, FuseContext, FusePolicy
    from blender_core.fuse.protocol import FusedText, Fuser, FusionInput

_HOMES = {
    "blender_core.fuse.guard": "FusionGuard",
    "blender_core.fuse.llm_fuser": "LLMFuser",
    "blender_core.fuse.policy": "Decision FuseContext FusePolicy",
    "blender_core.fuse.protocol": "FusedText Fuser FusionInput",
}

__all__ = [
    "Decision",
    "FuseContext",
    "FusePolicy",
    "FusedText",
    "Fuser",
    "FusionGuard",
    "FusionInput",
    "LLMFuser",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

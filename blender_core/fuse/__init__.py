"""Fusing: write one answer from the best candidates, if that is wise."""

from __future__ import annotations

from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.llm_fuser import LLMFuser, fusion_prompt
from blender_core.fuse.policy import Decision, FuseContext, FusePolicy, FuseWhen, resolve_fuse_when
from blender_core.fuse.protocol import FusedText, Fuser, FusionInput

__all__ = [
    "Decision",
    "FuseContext",
    "FusePolicy",
    "FuseWhen",
    "FusedText",
    "Fuser",
    "FusionGuard",
    "FusionInput",
    "LLMFuser",
    "fusion_prompt",
    "resolve_fuse_when",
]

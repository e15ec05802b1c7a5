"""Members: the LLMs of an ensemble."""

from __future__ import annotations

from blender_core.members.adapters import ENTRY_POINT_GROUP, as_member, as_members
from blender_core.members.member import FunctionMember, Member

__all__ = ["ENTRY_POINT_GROUP", "FunctionMember", "Member", "as_member", "as_members"]

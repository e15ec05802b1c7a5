"""Test code by scripted members, rankers, fusers and servers, and by virtual time."""

from __future__ import annotations

from blender_core.testing.fakes import FakeFuser, FakeMember, FakeRanker, Step
from blender_core.testing.scripted_server import Reply, ScriptedServer
from blender_core.testing.virtual_time import VirtualTimeLoop, run_in_virtual_time

__all__ = [
    "FakeFuser",
    "FakeMember",
    "FakeRanker",
    "Reply",
    "ScriptedServer",
    "Step",
    "VirtualTimeLoop",
    "run_in_virtual_time",
]

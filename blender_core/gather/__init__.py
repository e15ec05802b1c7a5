"""Gathering: ask every member, in time, and keep one outcome each."""

from __future__ import annotations

from blender_core.gather.classify import Failure, classify
from blender_core.gather.policy import Budget, GatherPolicy, RetryPolicy

__all__ = ["Budget", "Failure", "GatherPolicy", "RetryPolicy", "classify"]

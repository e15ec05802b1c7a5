"""Ranking: order the candidate answers to one prompt."""

from __future__ import annotations

from blender_core.rank.distinct import DistinctCandidates, distinct_candidates
from blender_core.rank.protocol import Ranker
from blender_core.rank.ranking import Ranking

__all__ = ["DistinctCandidates", "Ranker", "Ranking", "distinct_candidates"]

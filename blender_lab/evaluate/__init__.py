"""Measuring rankers on preference data that they were not trained on."""

from __future__ import annotations

from blender_lab.evaluate.ranker import (
    BLEND_SETS,
    PAIR_SETS,
    BlendNumbers,
    PairNumbers,
    RankerNumbers,
    evaluate_blend,
    evaluate_pairs,
    evaluate_ranker,
)

__all__ = [
    "BLEND_SETS",
    "PAIR_SETS",
    "BlendNumbers",
    "PairNumbers",
    "RankerNumbers",
    "evaluate_blend",
    "evaluate_pairs",
    "evaluate_ranker",
]

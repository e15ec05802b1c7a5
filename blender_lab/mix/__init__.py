"""MixInstruct for one's own models: prompts, every member's answers, scores and an oracle's verdicts.

`gather` asks an `ensemble` and survives being killed, because `journal` keeps every answer. `scoring` measures the
answers, and `verdicts` compares them in pairs.
"""

from __future__ import annotations

from blender_lab.data.mixinstruct import Gathered, MixCandidate, MixRecord, Verdict, read_mix, write_mix

__all__ = ["Gathered", "MixCandidate", "MixRecord", "Verdict", "read_mix", "write_mix"]

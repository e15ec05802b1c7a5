"""MixInstruct for one's own models: prompts, every member's answers, scores and an oracle's verdicts.

`records` is the data set's schema, `checks` are rules that tell a right answer, `gather` asks an ensemble and survives
being killed, `verdicts` has a judge compare the answers.
"""

from __future__ import annotations

from blender_core.mixinstruct.records import Gathered, MixCandidate, MixRecord, Verdict, read_mix, write_mix

__all__ = ["Gathered", "MixCandidate", "MixRecord", "Verdict", "read_mix", "write_mix"]

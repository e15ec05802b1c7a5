"""MixInstruct for one's own models: prompts, every member's answers, scores and an oracle's verdicts.

`gather` asks an `ensemble` and survives being killed, because `journal` keeps every answer. `scoring` measures the
answers, and `verdicts` compares them in pairs.
"""

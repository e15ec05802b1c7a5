"""Run `blended-llm` by `python -m blender_core.cli`."""

from __future__ import annotations

from blender_core.cli import main

main()

"""The commands train, eval and mix; `blended-llm` finds them by entry point."""

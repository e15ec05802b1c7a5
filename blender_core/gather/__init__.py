"""Ask every member within the time limits, and record one outcome each."""

"""Gathering: ask every member, in time, and keep one outcome each."""

"""Threads and event loops, optional dependencies, lazy exports."""

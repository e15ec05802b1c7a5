"""Handle threads, event loops, optional dependencies, keywords and lazy exports."""

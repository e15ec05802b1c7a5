"""Train a fuser."""

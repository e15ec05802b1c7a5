"""Train a ranker as the embedded one was trained."""

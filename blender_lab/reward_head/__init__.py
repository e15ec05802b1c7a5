"""Train a linear reward head on the hidden states of a language model."""

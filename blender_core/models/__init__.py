"""Loading and running pretrained models: devices, checkpoints, tokenizers, batches."""

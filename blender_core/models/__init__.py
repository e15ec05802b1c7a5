"""Load and run pretrained models: devices, checkpoints, tokenizers, batches."""

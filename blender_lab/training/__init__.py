"""What every training run shares: settings files, data sources, precision, resuming, logs."""

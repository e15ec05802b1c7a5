"""What the engine knows about texts: Unicode forms, control markers, thoughts, final answers, duplicates."""

"""Process texts: Unicode, control markers, thinking, final answers, duplicates."""

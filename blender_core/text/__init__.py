"""Texts: Unicode forms, control markers, thoughts, final answers, duplicates."""

"""Views of a result: a table for the terminal, HTML for notebooks, and a live view of a running call."""

from __future__ import annotations

__all__: list[str] = []

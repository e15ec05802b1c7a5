"""Answer or rank the rows of a large file, on one machine or on Ray, and lose nothing that was answered."""

from __future__ import annotations

__all__: list[str] = []

"""Show a result in terminal, notebook and Markdown, and a running call live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.view.result import blend_table
    from blender_core.view.table import Cell, Column, Table

_HOMES = {
    "blender_core.view.result": "blend_table",
    "blender_core.view.table": "Cell Column Table",
}

__all__ = ["Cell", "Column", "Table", "blend_table"]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)

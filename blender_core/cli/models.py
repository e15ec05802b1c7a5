"""`blended-llm models`: the local models there are."""

from __future__ import annotations

from typing import Annotated

import typer

from blender_core.cli.output import console, reported, write_json

__all__ = ["models"]


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Write the catalogue as JSON.")] = False,
) -> None:
    """List the local models: size, licence, and whether they are in the cache."""
    with reported():
        from blender_core.local import DEFAULT_MODELS, MODELS
        from blender_core.local.download import cache_directory

        folder = cache_directory()
        records = [
            {
                "model": model.name,
                "default": model in DEFAULT_MODELS,
                "size_bytes": model.size,
                "licence": model.licence,
                "licence_note": model.licence_note,
                "kind": model.kind,
                "repository": model.repository,
                "cached": (folder / model.filename).is_file(),
            }
            for model in MODELS.values()
        ]
        if as_json:
            write_json({"cache": str(folder), "models": records})
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
        for column in ("model", "default", "size", "cached", "licence"):
            table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
        for record in records:
            table.add_row(
                Text(str(record["model"]), style="bold" if record["default"] else ""),
                "yes" if record["default"] else "",
                f"{int(str(record['size_bytes'])) / 1e6:.0f} MB",
                "yes" if record["cached"] else "no",
                Text(str(record["licence"])),
            )
        out = console(stderr=False)
        out.print(table)
        for record in records:
            if record["licence_note"]:
                out.print(Text(f"{record['model']}: {record['licence_note']}"), soft_wrap=True)
        out.print(Text(f"cache: {folder}", style="dim"), soft_wrap=True)

"""`blended-llm models`: list the local models."""

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
                "default": DEFAULT_MODELS.count(model),
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
        from rich.text import Text

        from blender_core.view.table import Cell, Column, Table

        table = Table(
            [
                Column("model", name=True),
                Column("default"),
                Column("size", number=True),
                Column("cached"),
                Column("licence"),
            ],
            [
                [
                    Cell(str(record["model"]), "best" if record["default"] else ""),
                    _answers(int(str(record["default"]))),
                    f"{int(str(record['size_bytes'])) / 1e6:.0f} MB",
                    "yes" if record["cached"] else "no",
                    str(record["licence"]),
                ]
                for record in records
            ],
        )
        out = console(stderr=False)
        out.print(table)
        for record in records:
            if record["licence_note"]:
                out.print(Text(f"{record['model']}: {record['licence_note']}"), soft_wrap=True)
        out.print(Text(f"cache: {folder}", style="dim"), soft_wrap=True)


def _answers(count: int) -> str:
    return "" if not count else "yes" if count == 1 else f"{count} answers"

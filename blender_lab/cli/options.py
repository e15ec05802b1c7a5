"""Arguments and options that several commands of the laboratory share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Config", "DataFolder"]

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="TOML or JSON file that describes the run.")]
DataFolder = Annotated[
    str | None, typer.Option(help="Folder of the data files.", envvar="BLENDER_DATA", show_default=False)
]

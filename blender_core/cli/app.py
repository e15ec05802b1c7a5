"""Assemble the commands of `blended-llm`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated

import typer

from blender_core import __version__
from blender_core.cli.ask import ask
from blender_core.cli.compare import compare
from blender_core.cli.models import models
from blender_core.cli.output import EXIT_CODES
from blender_core.cli.rank import rank

__all__ = ["ENTRY_POINT_GROUP", "app"]

ENTRY_POINT_GROUP = "blended_llm.commands"
"""Entry points of this group are commands: a function, or a ``typer.Typer`` group."""

app = typer.Typer(
    help="Blend several LLMs into one: gather every answer, rank them, fuse the best.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blended-llm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Blend several LLMs into one: gather every answer, rank them, fuse the best."""


for _command in (ask, rank, compare, models):
    app.command(epilog=EXIT_CODES)(_command)

# other packages add their commands by entry points
for _entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
    _added = _entry.load()
    if isinstance(_added, typer.Typer):
        app.add_typer(_added, name=_entry.name)
    else:
        app.command(_entry.name, epilog=EXIT_CODES)(_added)

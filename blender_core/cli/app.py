"""Assemble the commands of `blended-llm`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from blender_core import __version__
from blender_core.cli.ask import ask
from blender_core.cli.compare import compare
from blender_core.cli.doctor import doctor
from blender_core.cli.models import models
from blender_core.cli.output import EXIT_CODES
from blender_core.cli.rank import rank
from blender_core.cli.rate import rate
from blender_core.errors import ConfigurationError

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


for _command in (ask, rank, rate, compare, models, doctor):
    app.command(epilog=EXIT_CODES)(_command)


def _add(entry: EntryPoint, taken: dict[str, str]) -> None:
    """Add a command of another package; if it is broken, say so and leave the others alone."""
    source = f"{entry.name} = {entry.value}" + (f" of {entry.dist.name}" if entry.dist else "")
    try:
        if entry.name in taken:
            raise ConfigurationError(f"the name belongs to {taken[entry.name]}")
        added = entry.load()
        if isinstance(added, typer.Typer):
            app.add_typer(added, name=entry.name)
        elif callable(added):
            app.command(entry.name, epilog=EXIT_CODES)(added)
        else:
            raise ConfigurationError(f"it is {added!r}, neither a function nor a typer.Typer")
        taken[entry.name] = source
    except Exception as error:
        typer.echo(f"command left out: {source}: {type(error).__name__}: {error}", err=True)


_taken = dict.fromkeys(("ask", "rank", "rate", "compare", "models", "doctor"), "blended-llm")
# the laboratory's commands come first, so that none replaces them
for _entry in sorted(
    entry_points(group=ENTRY_POINT_GROUP), key=lambda one: (not one.value.startswith("blender_lab."), one.name)
):
    _add(_entry, _taken)

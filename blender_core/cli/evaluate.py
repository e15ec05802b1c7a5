"""`blended-llm eval`: measure rankers on data they were not trained on."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from blender_core.cli.evaluate_blend import add_blend_command
from blender_core.cli.output import EXIT_CODES, console, reported, write_json

__all__ = ["evaluate", "without_nan"]

evaluate = typer.Typer(
    help="Measure on preference data.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@evaluate.command(epilog=EXIT_CODES)
def ranker(
    data: Annotated[
        str, typer.Option(envvar="BLENDER_DATA", help="Folder with the sets below eval/.")
    ] = "../shared/data",
    ranker: Annotated[
        str, typer.Option(help="A ranker's name, the folder of a trained one, or a hub name.")
    ] = "embedded",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Only this set; may be repeated.", show_default="all that are there"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first records of each set.", show_default="all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the numbers as JSON.")] = False,
) -> None:
    """Measure a ranker: accuracy on pair sets, score of the picked answer on blend sets."""
    with reported():
        from rich.text import Text

        from blender_core.evaluate.ranker import evaluate_ranker
        from blender_core.evaluate.table import blend_table, pair_table
        from blender_core.rank.registry import resolve_ranker

        with console(stderr=True).status("") as status:
            numbers = evaluate_ranker(
                resolve_ranker(ranker), data, sets=sets, limit=limit, progress=lambda name: status.update(Text(name))
            )
        if as_json:
            write_json(without_nan(numbers.to_dict()))
            return
        out = console(stderr=False)
        if not out.is_terminal:
            out.width = max(out.width, 160)
        if numbers.pairs:
            out.print(pair_table(numbers))
        if numbers.blends:
            out.print(blend_table(numbers))


def without_nan(value: Any) -> Any:
    """The same plain types with ``None`` for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


add_blend_command(evaluate)

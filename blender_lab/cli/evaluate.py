"""`blended-llm eval`: measure rankers on data they were not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from blender_core.cli.output import EXIT_CODES, console, reported, write_json
from blender_lab.cli.evaluate_blend import Encoder, MaxTokens, add_blend_command

if TYPE_CHECKING:
    from blender_core.rank.protocol import Ranker
from blender_lab.cli.options import DataFolder

__all__ = ["evaluate"]

evaluate = typer.Typer(
    help="Measure on preference data.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@evaluate.command(epilog=EXIT_CODES)
def ranker(
    data: DataFolder = None,
    ranker: Annotated[
        str,
        typer.Option(
            help="embedded, reward-head, consensus, longest, random, bi-encoder, embedding-consensus, a folder or hub "
            "name of a trained ranker, URL:MODEL of an endpoint that ranks, cross-encoder:MODEL, mlm-scoring:MODEL or "
            "judge:URL:MODEL."
        ),
    ] = "embedded",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Only this set; may be repeated.", show_default="all that are there"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first records of each set.", show_default="all")] = None,
    encoder: Encoder = None,
    max_tokens: MaxTokens = None,
    embedding_consensus: Annotated[
        bool,
        typer.Option(
            "--embedding-consensus/--no-embedding-consensus", help="Embedding consensus as a baseline on blend sets."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Write the numbers as JSON.")] = False,
) -> None:
    """Measure a ranker: accuracy on pair sets, score of the picked answer on blend sets."""
    with reported():
        from rich.text import Text

        from blender_lab.data_folder import data_folder
        from blender_lab.evaluate.benchmark_rankers import EMBEDDING_CONSENSUS, benchmark_rankers
        from blender_lab.evaluate.ranker import evaluate_ranker

        folder = data_folder(data)
        measured = benchmark_rankers([ranker], encoder=encoder, max_tokens=max_tokens)[ranker]
        with console(stderr=True).status("") as status:

            def agreement() -> Ranker:
                if measured.name == EMBEDDING_CONSENSUS:
                    return measured
                return benchmark_rankers([EMBEDDING_CONSENSUS], encoder=encoder)[EMBEDDING_CONSENSUS]

            numbers = evaluate_ranker(
                measured,
                folder,
                sets=sets,
                limit=limit,
                progress=lambda name: status.update(Text(name)),
                embedding_consensus=agreement if embedding_consensus else None,
            )
        if as_json:
            write_json(numbers.to_dict())
            return
        out = console(stderr=False)
        if not out.is_terminal:
            out.width = max(out.width, 160)
        if numbers.pairs:
            out.print(numbers.pair_table(), "")
        if numbers.blends:
            out.print(numbers.blend_table())


add_blend_command(evaluate)

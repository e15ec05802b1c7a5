"""`blended-llm eval blend`: members, chance, rankers and oracle side by side on many models' answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from blender_core.cli.output import EXIT_CODES, console, reported, write_json
from blender_core.errors import ConfigurationError
from blender_lab.cli.options import DataFolder

__all__ = ["Encoder", "MaxTokens", "add_blend_command"]

Encoder = Annotated[
    str | None,
    typer.Option(help="Text encoder of bi-encoder and embedding-consensus.", show_default="the one in the package"),
]
"""The option of every command that takes rankers by name."""

MaxTokens = Annotated[
    int | None,
    typer.Option(help="Window in tokens of cross-encoder:MODEL and mlm-scoring:MODEL.", show_default="the model's"),
]
"""The option of every command that takes rankers by name."""


def add_blend_command(app: typer.Typer) -> None:
    """Give the commands of ``blended-llm eval`` this one.

    Args:
        app: The app.
    """
    app.command(epilog=EXIT_CODES)(blend)


def blend(
    source: Annotated[
        str,
        typer.Argument(
            help="A JSONL file (.gz or not) in MixInstruct's schema or that of preference data, the name of a set "
            "below --data such as blend_open11, or a data set on the hub such as llm-blender/mix-instruct.",
            show_default=False,
        ),
    ],
    data: DataFolder = None,
    ranker: Annotated[
        list[str] | None,
        typer.Option(
            help="embedded, reward-head, consensus, longest, random, bi-encoder, embedding-consensus, a folder or hub "
            "name of a trained ranker, URL:MODEL of an endpoint that ranks, cross-encoder:MODEL, mlm-scoring:MODEL or "
            "judge:URL:MODEL; repeat it for more.",
            show_default="all that run without the hub",
        ),
    ] = None,
    encoder: Encoder = None,
    max_tokens: MaxTokens = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute a metric against the references: rougeL, bleu, chrf, bertscore-minilm, bertscore, bartscore, "
            "bleurt; repeat it for more.",
            show_default="none, besides the scores in the records",
        ),
    ] = None,
    oracle: Annotated[
        str, typer.Option(help="Who says what is better: verdicts, the name of a score or of a --metric, or auto.")
    ] = "auto",
    ties: Annotated[str, typer.Option(help="What ties among verdicts are worth: cancel, or points for half a win.")] = (
        "cancel"
    ),
    against: Annotated[
        list[str] | None,
        typer.Option(help="Member for the share at least as good; repeat it.", show_default="the best two"),
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Model to leave out; repeat it.")] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="Model whose answers are finished blends, no member; repeat it.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a data set on the hub.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Only the first records.", show_default="all")] = None,
    seed: Annotated[int, typer.Option(help="Seed of intervals and tests.")] = 0,
    figures: Annotated[Path | None, typer.Option(help="Folder that receives the figures as PNG.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Document that receives the tables between <!-- blend NAME --> and <!-- end blend NAME -->."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the numbers as JSON.")] = False,
) -> None:
    """Compare every way to pick an answer, in the form of LLM-Blender's Table 2.

    Intervals are bootstrapped, differences tested on the same prompts. Needs the eval extra.
    """
    with reported():
        from rich.text import Text

        from blender_core.runtime.extras import require
        from blender_lab.evaluate.benchmark import run_benchmark
        from blender_lab.evaluate.benchmark_rankers import benchmark_rankers
        from blender_lab.evaluate.metrics.registry import resolve_metric
        from blender_lab.evaluate.oracle import resolve_oracle
        from blender_lab.evaluate.records import load_records
        from blender_lab.evaluate.report import check_markers, write_between_markers

        # minutes of ranking must not end in a missing library
        require("scipy.stats", feature="eval blend", extra="eval")
        if figures is not None:
            require("matplotlib", feature="eval blend --figures", extra="eval")
            _make_folder(figures)
        name = Path(source).name.partition(".")[0]
        if markdown is not None:
            check_markers(markdown, f"blend {name}")
        records = load_records(source, data=data, split=split, limit=limit)
        # before a model is loaded
        resolve_oracle(oracle, records, ties=ties, metrics=[one.partition(":")[0] for one in metric or ()])
        with console(stderr=True).status("") as status:
            report = run_benchmark(
                records,
                benchmark_rankers(ranker, encoder=encoder, max_tokens=max_tokens),
                name=name,
                oracle=oracle,
                ties=ties,
                metrics=[resolve_metric(one) for one in metric or ()],
                against=against,
                systems=system or (),
                exclude=exclude or (),
                seed=seed,
                progress=lambda label: status.update(Text(label)),
            )
        made = (report.table(), report.agreement_table(), report.task_table())
        tables = [table for table in made if table.rows]
        if as_json:
            write_json(report.to_dict())
        else:
            out = console(stderr=False)
            if not out.is_terminal:
                out.width = max(out.width, 220)
            for table in tables:
                out.print(table, "")
        # files last: one that cannot be written loses no numbers
        if markdown is not None:
            from blender_core.view.table import markdown_text

            text = "\n\n".join(f"{markdown_text(table.title)}\n\n{table.markdown()}" for table in tables)
            write_between_markers(markdown, f"blend {name}", text)
        if figures is not None:
            from blender_lab.evaluate.figures import save_figures

            for path in save_figures(report, figures):
                console(stderr=True).print(str(path), soft_wrap=True, markup=False)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make the folder {folder}: {error}; give another --figures") from error
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(f"cannot write to {folder}: permission denied; give another --figures")

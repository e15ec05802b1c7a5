"""`blended-llm train`: train a ranker or a fuser on your own data."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from blender_core.cli.output import EXIT_CODES, console, reported, write_json
from blender_lab.cli.options import Config, DataFolder
from blender_lab.cli.train_fuser import fuser
from blender_lab.cli.train_progress import training_progress

__all__ = ["train"]

train = typer.Typer(
    help="Train on your own data; needs the train extra.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@train.command(epilog=EXIT_CODES)
def ranker(
    config: Config,
    data: DataFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write how the run ended as JSON.")] = False,
) -> None:
    """Train a ranker from a configuration file.

    A run that was stopped resumes from its last checkpoint when the same command is given again. Progress goes to
    standard error: a bar on a terminal, else a line now and then, nothing with --json.
    """
    with reported():
        from blender_core.runtime.extras import require

        require("torch", feature="blended-llm train ranker", extra="train")
        from blender_lab.ranker.config import RankerTrainingConfig
        from blender_lab.ranker.train import train_ranker

        settings = RankerTrainingConfig.load(config)
        if as_json:
            result = train_ranker(settings, data=data)
            write_json(
                {
                    "steps": result.steps,
                    "sequences": result.sequences,
                    "seconds": result.seconds,
                    # a run that had already ended did no step, and JSON knows no nan
                    "loss": None if math.isnan(result.loss) else result.loss,
                    "output": settings.output,
                }
            )
            return
        with training_progress(settings.steps, console(stderr=True)) as report:
            result = train_ranker(settings, data=data, report=report)
        loss = "nothing left to do" if math.isnan(result.loss) else f"mean loss of the last 50 steps {result.loss:.4f}"
        console(stderr=False).print(
            f"{result.steps} steps, {result.sequences} sequences, {result.seconds / 60:.1f} minutes, {loss}; "
            f"checkpoint and log in {settings.output}",
            markup=False,
        )


@train.command(epilog=EXIT_CODES)
def export(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="The file that the run was trained with.")],
    output: Annotated[str, typer.Argument(metavar="FOLDER", help="Where to write; made if it is missing.")],
    data: DataFolder = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Window in tokens.", show_default="the largest of the run")
    ] = None,
    records: Annotated[int, typer.Option(help="Most held-out records of a source that the fit uses.")] = 60,
) -> None:
    """Write a trained ranker as the folder that a ranker is loaded from."""
    with reported():
        from blender_core.runtime.extras import require

        require("torch", feature="blended-llm train export", extra="train")
        from blender_lab.ranker.config import RankerTrainingConfig
        from blender_lab.ranker.finish import finish_ranker

        settings = RankerTrainingConfig.load(config)
        write_json(finish_ranker(settings, output, data=data, max_tokens=max_tokens, records=records))


@train.command(epilog=EXIT_CODES)
def combine(
    config: Config,
    output: Annotated[str, typer.Argument(metavar="FOLDER", help="Where to write; made if it is missing.")],
    data: DataFolder = None,
    records: Annotated[int, typer.Option(help="Most held-out records of a source that the numbers are of.")] = 60,
) -> None:
    """Fit anew how an exported ranker weighs its features; its encoder stays as it is."""
    with reported():
        from blender_core.runtime.extras import require

        require("torch", feature="blended-llm train combine", extra="train")
        from blender_lab.ranker.config import RankerTrainingConfig
        from blender_lab.ranker.finish import combine_ranker

        write_json(combine_ranker(RankerTrainingConfig.load(config), output, data=data, records=records))


@train.command(epilog=EXIT_CODES)
def reward_head(
    config: Config,
    data: DataFolder = None,
) -> None:
    """Fit a linear head on a frozen language model: a ranker, and a teacher for smaller ones.

    Every answer is read once; a run that was stopped resumes when the same command is given again. Writes the numbers
    on held-out prompts as JSON.
    """
    with reported():
        from blender_core.runtime.extras import require

        require("torch", feature="blended-llm train reward-head", extra="train")
        from rich.text import Text

        from blender_lab.reward_head.config import RewardHeadConfig
        from blender_lab.reward_head.fit import train_reward_head

        with console(stderr=True).status("starting") as status:
            write_json(
                train_reward_head(
                    RewardHeadConfig.load(config),
                    data=data,
                    report=lambda source, done, count: status.update(Text(f"reading {source}: {done} of {count}")),
                )
            )


train.command(epilog=EXIT_CODES)(fuser)

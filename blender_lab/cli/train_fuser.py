"""`blended-llm train fuser`: train a fuser."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from blender_core.cli.output import console, reported, write_json
from blender_lab.cli.options import Config, DataFolder

__all__ = ["fuser"]


def fuser(
    config: Config,
    data: DataFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write how the run ended as JSON.")] = False,
) -> None:
    """Train a fuser from a configuration file.

    A run that was stopped resumes from its last checkpoint when the same command is given again. The folder "model"
    below the run's output is what GenFuser.from_pretrained loads.
    """
    with reported():
        from blender_lab import FuserTrainingConfig, train_fuser

        progress = console(stderr=True)
        result = train_fuser(
            FuserTrainingConfig.load(config), data=data, report=lambda line: progress.print(line, markup=False)
        )
        if as_json:
            write_json(asdict(result))
            return
        console(stderr=False).print(
            f"{result.steps} steps, {result.epochs:.2f} epochs, {result.seconds / 60:.1f} minutes, held-out loss "
            f"{result.development_loss:.4f} at step {result.best_step}; model in {result.model}",
            markup=False,
        )

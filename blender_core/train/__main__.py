"""``python -m blender_core.train ranker --config FILE``."""

from __future__ import annotations

import argparse

from rich.console import Console

from blender_core.train.config import RankerTrainingConfig


def main() -> None:
    """Run a training from a configuration file."""
    parser = argparse.ArgumentParser(prog="python -m blender_core.train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ranker = commands.add_parser("ranker", help="train the embedded ranker; resumes a run that was stopped")
    ranker.add_argument("--config", required=True, help="TOML or JSON file with the settings of the run")
    ranker.add_argument("--data", default=None, help="data folder (default: BLENDER_DATA, else ../shared/data)")
    arguments = parser.parse_args()
    console = Console()
    config = RankerTrainingConfig.load(arguments.config)
    from blender_core.train.ranker import train_ranker

    result = train_ranker(config, data=arguments.data)
    console.print(
        f"{result.steps} steps, {result.sequences} sequences, {result.seconds / 60:.1f} minutes, "
        f"mean loss of the last 50 steps {result.loss:.4f}; checkpoint and log in {config.output}"
    )


if __name__ == "__main__":
    main()

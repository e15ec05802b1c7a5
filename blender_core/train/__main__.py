"""``python -m blender_core.train ranker --config FILE``, then ``export --config FILE --output FOLDER``."""

from __future__ import annotations

import argparse

from rich.console import Console

from blender_core.train.config import RankerTrainingConfig


def main() -> None:
    """Train from a configuration file, or export what was trained."""
    parser = argparse.ArgumentParser(prog="python -m blender_core.train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ranker = commands.add_parser("ranker", help="train the embedded ranker; resumes a run that was stopped")
    ranker.add_argument("--config", required=True, help="TOML or JSON file with the settings of the run")
    ranker.add_argument("--data", default=None, help="data folder (default: BLENDER_DATA, else ../shared/data)")
    export = commands.add_parser("export", help="write the folder that EmbeddedRanker.load reads")
    export.add_argument("--config", required=True, help="settings of the finished run")
    export.add_argument("--output", required=True, help="folder to write")
    export.add_argument("--data", default=None, help="data folder (default: BLENDER_DATA, else ../shared/data)")
    export.add_argument("--max-tokens", type=int, default=None, help="window (default: the run's largest)")
    export.add_argument("--records", type=int, default=60, help="most held-out records a source")
    arguments = parser.parse_args()
    console = Console()
    config = RankerTrainingConfig.load(arguments.config)
    if arguments.command == "export":
        from blender_core.train.finish import finish_ranker

        report = finish_ranker(
            config,
            arguments.output,
            data=arguments.data,
            max_tokens=arguments.max_tokens,
            records=arguments.records,
        )
        console.print_json(data=report)
        return
    from blender_core.train.ranker import train_ranker

    result = train_ranker(config, data=arguments.data)
    console.print(
        f"{result.steps} steps, {result.sequences} sequences, {result.seconds / 60:.1f} minutes, "
        f"mean loss of the last 50 steps {result.loss:.4f}; checkpoint and log in {config.output}"
    )


if __name__ == "__main__":
    main()

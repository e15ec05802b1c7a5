"""``python -m blender_core.evaluate ranker --data DIR``: measure a ranker and print the tables."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from rich.console import Console

from blender_core.evaluate.ranker import evaluate_ranker
from blender_core.evaluate.table import blend_table, pair_table
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import resolve_ranker


def main() -> None:
    """Measure a ranker."""
    parser = argparse.ArgumentParser(prog="python -m blender_core.evaluate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ranker", help="accuracy on pair sets, picked score on blend sets")
    command.add_argument("--data", default=os.environ.get("BLENDER_DATA") or "../shared/data", help="data folder")
    command.add_argument("--ranker", default="embedded", help="embedded, consensus, longest, or a checkpoint")
    command.add_argument("--weights", default=None, help="folder of an exported ranker, instead of --ranker")
    command.add_argument("--threads", type=int, default=1, help="threads of the embedded ranker")
    command.add_argument("--set", action="append", dest="sets", help="only this set; may be given again")
    command.add_argument("--limit", type=int, default=None, help="only the first records of each set")
    command.add_argument("--json", default=None, help="file that receives the numbers")
    arguments = parser.parse_args()
    console = Console(width=None if Console().is_terminal else 160)
    ranker: Ranker
    if arguments.weights or arguments.ranker == "embedded":
        from blender_core.rank.embedded import EmbeddedRanker

        ranker = EmbeddedRanker.load(arguments.weights, threads=arguments.threads)
    else:
        ranker = resolve_ranker(arguments.ranker)
    with console.status("") as status:
        numbers = evaluate_ranker(
            ranker, arguments.data, sets=arguments.sets, limit=arguments.limit, progress=status.update
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(numbers.to_dict(), indent=2) + "\n", encoding="utf-8")
    if numbers.pairs:
        console.print(pair_table(numbers))
    if numbers.blends:
        console.print(blend_table(numbers))


if __name__ == "__main__":
    main()

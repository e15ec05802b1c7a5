"""Rows a CPU second of `blended-llm rank` and of the embedded ranker, two checkouts side by side in one run.

    python benchmarks/rank_file.py --before FOLDER --rows FILE.jsonl --limit 60 --rounds 3

Each round runs both checkouts, one after the other, each in a process of its own. CPU time is that of the process: the
start, the load and the output count. Says whether the scores are the same, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from statistics import median

from rich.console import Console

HERE = Path(__file__).resolve().parent.parent


def run(checkout: Path, rows: Path) -> tuple[float, list[list[float]]]:
    """Rank a file in a process; return its CPU seconds and the scores."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "blender_core.cli", "rank", str(rows), "--json"],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=True,
    )
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return seconds, [json.loads(line)["scores"] for line in done.stdout.splitlines()]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="another checkout")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    out = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        with options.rows.open(encoding="utf-8") as lines:
            rows.write_text("".join(islice(lines, options.limit)), encoding="utf-8")
        seconds: dict[Path, list[float]] = {options.before.resolve(): [], HERE: []}
        scores = {}
        for _ in range(options.rounds):
            for checkout, found in seconds.items():
                used, scores[checkout] = run(checkout, rows)
                found.append(used)
    before, after = seconds.values()
    count = len(scores[HERE])
    out.print(f"{count} rows, {sum(map(len, scores[HERE]))} answers, {options.rounds} rounds, medians")
    for name, found in (("before", before), ("after", after)):
        out.print(f"{name}: {median(found):.2f} CPU s, {count / median(found):.2f} rows a CPU s")
    ratio = median(one / two for one, two in zip(before, after, strict=True))
    out.print(f"before / after: {ratio:.2f}; same scores: {scores[HERE] == scores[options.before.resolve()]}")


if __name__ == "__main__":
    main()

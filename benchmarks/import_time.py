"""How long imports take: langchain_core beside langchain_blender, each in fresh interpreters, in turn.

    python benchmarks/import_time.py [--rounds 10]

`langchain_core` stands for the modules that any chat model package needs (`langchain_core.language_models`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

STATEMENTS = {
    "nothing": "pass",
    "langchain_core": "import langchain_core.language_models",
    "langchain_blender": "import langchain_blender",
}
TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def seconds(statement: str) -> float:
    """Time one import in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", TIMED.format(statement)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    for statement in STATEMENTS.values():
        seconds(statement)  # fills the file cache
    times = {name: [seconds(statement) for _ in range(rounds)] for name, statement in STATEMENTS.items()}
    medians = {name: round(statistics.median(values), 3) for name, values in times.items()}
    core, blender = medians["langchain_core"], medians["langchain_blender"]
    report = {"median_s": medians, "extra_s": round(blender - core, 3), "ratio": round(blender / core, 2)}
    print(json.dumps({"rounds": rounds, "python": sys.version.split()[0], **report}, indent=2))


if __name__ == "__main__":
    main()

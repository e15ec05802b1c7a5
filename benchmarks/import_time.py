"""How long imports take: each framework beside its adapter, in fresh interpreters, in turn.

    python benchmarks/import_time.py [--rounds 10]

The adapters load their names when they are first used, so the names that a program needs are timed, too.
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
    "BaseChatModel": "from langchain_core.language_models import BaseChatModel",
    "langchain_blender": "import langchain_blender",
    "BlendedLLM": "from langchain_blender import BlendedLLM",
    "llama_index LLM": "from llama_index.core.llms import LLM",
    "llama_index BlendedLLM": "from llamaindex_blender import BlendedLLM",
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
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    medians = {name: round(statistics.median(values), 3) for name, values in times.items()}
    report = {
        "median_s": medians,
        "langchain_blender_more_than_langchain_core_s": round(
            medians["langchain_blender"] - medians["langchain_core"], 3
        ),
        "blended_llm_more_than_base_chat_model_s": round(medians["BlendedLLM"] - medians["BaseChatModel"], 3),
        "llama_index_blended_llm_more_than_llm_s": round(
            medians["llama_index BlendedLLM"] - medians["llama_index LLM"], 3
        ),
        "blended_llm_times_base_chat_model": round(medians["BlendedLLM"] / medians["BaseChatModel"], 2),
    }
    print(json.dumps({"rounds": rounds, "python": sys.version.split()[0], **report}, indent=2))


if __name__ == "__main__":
    main()

"""CPU seconds of PairRanker against ``llm-blender`` 0.0.2 on the same random-weight checkpoints, one thread each.

The reference runs in an environment of its own, with the last libraries on which it works:

    python -m venv old && old/bin/pip install -r tests/goldens/requirements.txt
    python benchmarks/pair_ranker_speed.py --peer old/bin/python --sizes xsmall small base

Without ``--peer`` the backends are compared with each other. All run in turn in one run, each in its own process, so
that a busy machine hits all alike. Random weights cost what trained ones cost. Printed is a table in Markdown; ``--plot
FILE.svg`` draws it. A ratio is the median over the rounds of CPU seconds divided by those of the first row.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "goldens"
SHAPES = {
    "xsmall": {"hidden": 384, "layers": 12, "heads": 6, "intermediate": 1536},
    "small": {"hidden": 768, "layers": 6, "heads": 12, "intermediate": 3072},
    "base": {"hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072},
}
OURS: dict[str, dict[str, Any]] = {
    "torch float32 (default)": {},
    "torch bfloat16": {"dtype": "bfloat16"},
    "onnx float32": {"backend": "onnx", "dtype": "float32", "threads": 1},
    "onnx int8": {"backend": "onnx", "dtype": "int8", "threads": 1},
}
REFERENCE = "llm-blender 0.0.2"


def request(candidates: int) -> tuple[str, list[str]]:
    """Make a prompt and answers with pairs of about 330 tokens."""
    words = (ROOT / "LICENSE").read_text(encoding="utf-8").split()
    answers = [" ".join(words[60 * number : 60 * number + 44 + 3 * (number % 5)]) for number in range(candidates)]
    return "Explain to a contributor what this part of the licence means.", answers


def write_checkpoint(folder: Path, size: str, base: Path) -> None:
    sys.path.insert(0, str(GOLDENS))
    import pairrm_checkpoint as checkpoints

    shape = {**SHAPES[size], "vocab": checkpoints.TINY["vocab"]}
    checkpoints.write_checkpoint(folder, checkpoints.ranker_config(model_name=str(base)), shape)


def run_reference(size: str, folder: Path) -> None:
    """Rank with the reference; this function runs in its environment."""
    import contextlib
    import logging
    import warnings

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    sys.path.insert(0, str(GOLDENS))
    with contextlib.redirect_stdout(sys.stderr):
        import make_pairranker_goldens as goldens
        import torch

        torch.set_num_threads(1)
        shape = {**SHAPES[size], "vocab": goldens.checkpoint.TINY["vocab"]}
        goldens.write_base_model(folder / "base", shape, goldens.checkpoint.TOKENIZER)
        blender = goldens.Blender()
        blender.loadranker(str(folder / "ranker"), device="cpu", cache_dir=str(folder / "cache"))

    def rank(prompt: str, answers: list[str]) -> list[float]:
        with contextlib.redirect_stdout(sys.stderr):
            scores: list[float] = blender.rank(
                [prompt], [answers], return_scores=True, batch_size=1, disable_tqdm=True
            )[0].tolist()
        return scores

    serve(rank)


def run_ours(way: str, folder: Path) -> None:
    import torch

    from blender_core import PairRanker

    torch.set_num_threads(1)
    ranker = PairRanker.from_pretrained(folder / "ranker", device="cpu", **OURS[way])
    serve(lambda prompt, answers: list(ranker.rank(prompt, answers).scores))


def serve(rank: Any) -> None:
    """Answer requests of one line each with CPU seconds and scores."""
    for line in sys.stdin:
        prompt, answers = json.loads(line)
        begun = time.process_time()
        scores = rank(prompt, answers)
        print(json.dumps([time.process_time() - begun, scores]), flush=True)


class Contestant:
    """One way to rank, in a process of its own."""

    def __init__(self, python: str, mode: str, size: str, folder: Path) -> None:
        command = [python, __file__, "--serve", mode, "--sizes", size, "--folder", str(folder)]
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **one_thread}
        )

    def rank(self, prompt: str, answers: list[str]) -> tuple[float, list[float]]:
        """Return CPU seconds and scores."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([prompt, answers]) + "\n")
        self._process.stdin.flush()
        seconds, scores = json.loads(self._process.stdout.readline())
        return seconds, scores

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def contestants(size: str, peer: str | None, folder: Path, ways: list[str]) -> Iterator[dict[str, Contestant]]:
    write_checkpoint(folder / "ranker", size, folder / "base")
    if any("onnx" in way for way in ways):
        from blender_core import PairRanker

        PairRanker.from_pretrained(folder / "ranker", device="cpu").export_onnx(folder / "ranker", quantize=True)
        # the reference reads its own config
        write_checkpoint(folder / "ranker", size, folder / "base")
    with ExitStack() as stack:
        running = {} if peer is None else {REFERENCE: Contestant(peer, "reference", size, folder)}
        for way in ways:
            running[way] = Contestant(sys.executable, way, size, folder)
        for each in running.values():
            stack.callback(each.close)
        yield running


def measure(size: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        contestants(size, options.peer, Path(folder), options.ways) as running,
    ):
        for each in running.values():
            each.rank(*request(2))
        for count in options.candidates:
            seconds: dict[str, list[float]] = {way: [] for way in running}
            scores: dict[str, list[float]] = {}
            for _ in range(options.rounds):
                for way, each in running.items():
                    spent, scores[way] = each.rank(*request(count))
                    seconds[way].append(spent)
            first = next(iter(running))
            for way in running:
                ratios = [spent / whole for spent, whole in zip(seconds[way], seconds[first], strict=True)]
                apart = max(abs(one - other) for one, other in zip(scores[way], scores[first], strict=True))
                rows.append(
                    {
                        "size": size,
                        "n": count,
                        "way": way,
                        "seconds": statistics.median(seconds[way]),
                        "ratio": statistics.median(ratios),
                        "least": min(ratios),
                        "most": max(ratios),
                        "apart": apart,
                        "same": order(scores[way]) == order(scores[first]),
                    }
                )
                print(told(rows[-1]), flush=True)
    return rows


def order(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def told(row: dict[str, Any]) -> str:
    return (
        f"| {row['size']} | {row['n']} | {row['way']} | {row['seconds']:.2f} | {row['ratio']:.2f} "
        f"({row['least']:.2f} to {row['most']:.2f}) | {row['apart']:.1e} | {'yes' if row['same'] else 'no'} |"
    )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratios as bars, a group for each size and number of answers."""
    from matplotlib.figure import Figure

    ways = list(dict.fromkeys(row["way"] for row in rows))
    groups = list(dict.fromkeys((row["size"], row["n"]) for row in rows))
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(ways)
    for number, way in enumerate(ways):
        found = {(row["size"], row["n"]): row["ratio"] for row in rows if row["way"] == way}
        places = [index + width * (number - (len(ways) - 1) / 2) for index in range(len(groups))]
        bars = axes.bar(places, [found[group] for group in groups], width, label=way)
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks(range(len(groups)), [f"{size}, {count} answers" for size, count in groups])
    axes.set_ylabel(f"CPU time, {ways[0]} = 1")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=len(ways), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", help="Python of the environment with llm-blender")
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=["xsmall", "small"])
    parser.add_argument("--candidates", nargs="+", type=int, default=[5])
    parser.add_argument("--ways", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve == "reference":
        run_reference(options.sizes[0], options.folder)
    elif options.serve:
        run_ours(options.serve, options.folder)
    else:
        print("| size | answers | way | CPU s | ratio | largest score difference | same order |")
        print("|---|---|---|---|---|---|---|")
        rows = [row for size in options.sizes for row in measure(size, options)]
        if options.plot is not None:
            draw(rows, options.plot)


if __name__ == "__main__":
    main()

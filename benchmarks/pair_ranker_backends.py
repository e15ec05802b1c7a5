"""CPU seconds of PairRanker's two backends on a random DeBERTa-v3 of xsmall's shape, one thread each.

Run from the repository root:  python benchmarks/pair_ranker_backends.py [rounds]
Random weights cost what trained ones cost. The tokenizer is the tests' small one; texts are counted in its tokens.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from blender_core import PairRanker

GOLDENS = Path(__file__).parents[1] / "tests" / "goldens"
PROMPT = "the terms of the licence and of the work " * 6
CANDIDATES = [f"{word} " + "any work of the licence " * 12 for word in ("no", "all")]


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("pairrm_checkpoint", GOLDENS / "pairrm_checkpoint.py")
    checkpoints = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checkpoints)
    size = {**checkpoints.XSMALL, "vocab": checkpoints.TINY["vocab"]}
    with tempfile.TemporaryDirectory() as temporary:
        folder = checkpoints.write_checkpoint(Path(temporary), checkpoints.ranker_config(), size)
        rankers = {"torch": PairRanker.from_pretrained(folder, device="cpu")}
        rankers["torch"].export_onnx(folder, quantize=True)
        for dtype in ("float32", "int8"):
            rankers[f"onnx {dtype}"] = PairRanker.from_pretrained(
                folder, device="cpu", backend="onnx", dtype=dtype, threads=1
            )
        seconds = {name: [] for name in rankers}
        for turn in range(rounds + 1):
            for name, ranker in rankers.items():
                start = time.process_time()
                ranker.rank(PROMPT, CANDIDATES)
                if turn:  # the first one warms up
                    seconds[name].append(time.process_time() - start)
        expected = [logit for row in rankers["torch"].ordered_logits(PROMPT, CANDIDATES) for logit in row]
        for name, times in seconds.items():
            found = [logit for row in rankers[name].ordered_logits(PROMPT, CANDIDATES) for logit in row]
            apart = max(abs(a - b) for a, b in zip(expected, found, strict=True))
            middle = statistics.median(times)
            ratio = middle / statistics.median(seconds["torch"])
            print(
                f"{name:13} {middle:.3f} s a rank() of 2 passes ({min(times):.3f} to {max(times):.3f}), "
                f"{ratio:.2f} of torch, largest logit difference {apart:.1e}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)

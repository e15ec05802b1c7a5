"""Pairs a second of PairRM's network on a GPU, against the reference and the arithmetic floor of the same card.

    python benchmarks/pair_ranker_gpu.py                                    # DeBERTa-v3-large, 512 and 2,048 tokens
    python benchmarks/pair_ranker_gpu.py --peer old/bin/python              # beside llm-blender 0.0.2, see
                                                                            # pair_ranker_speed.py for its environment
    python benchmarks/pair_ranker_gpu.py --device cpu --shape tiny --tokens 64 --pairs 4      # whether it runs

Random weights, all pairs of one length. The floor is the time of the network's matrix products alone, at the rate that
this card reaches on a large product in the same number format. Printed is a table in Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "goldens"))
SHAPES = {
    "large": {"hidden": 1024, "layers": 24, "heads": 16, "intermediate": 4096},
    "tiny": {"hidden": 64, "layers": 2, "heads": 4, "intermediate": 128},
}


def clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def fastest(run: Any, device: str, rounds: int) -> float:
    """Return the seconds of the fastest round, after one that is not counted."""
    run()
    seconds = []
    for _ in range(rounds):
        begun = clock(device)
        run()
        seconds.append(clock(device) - begun)
    return min(seconds)


def products(shape: dict[str, int], tokens: int) -> float:
    """Count the floating point operations of one pair's matrix products; the last block computes three positions."""
    hidden, wide, layers = shape["hidden"], shape["intermediate"], shape["layers"]
    dense = tokens * (4 * hidden * hidden + 2 * hidden * wide)
    attention = 2 * tokens * tokens * hidden
    distances = 2 * tokens * hidden * min(2 * tokens - 1, 512)
    return 2.0 * ((layers - 1) * (dense + attention + distances) + 2 * tokens * hidden * hidden)


def reached(device: str, dtype: torch.dtype, rounds: int) -> float:
    """Measure floating point operations a second of a large product."""
    size = 8192 if device.startswith("cuda") else 512
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2.0 * size**3 / fastest(lambda: left @ right, device, rounds)


def ours(folder: Path, ids: list[list[int]], options: argparse.Namespace, dtype: str) -> float:
    from blender_core import PairRanker
    from blender_core.rank.pairrm.tokens import EncodedPair

    ranker = PairRanker.from_pretrained(folder, device=options.device, dtype=dtype)
    third = len(ids[0]) // 3
    pairs = [EncodedPair(tuple(one), (1, third, 2 * third)) for one in ids]
    with torch.inference_mode():
        return fastest(lambda: ranker._scorer.logits(pairs), options.device, options.rounds)


def reference(folder: Path, options: argparse.Namespace, dtype: str, tokens: int) -> None:
    """Run the class behind PairRM-hf; this function runs in the reference's environment."""
    from llm_blender.pair_ranker.pairrm import DebertaV2PairRM
    from transformers import DebertaV2Config

    config = DebertaV2Config.from_pretrained(folder / "hf")
    config.sep_token_id = 2
    model = DebertaV2PairRM.from_pretrained(folder / "hf", config=config, torch_dtype=getattr(torch, dtype))
    model = model.eval().to(options.device)
    third, vocabulary = tokens // 3, config.vocab_size
    ids = torch.randint(5, vocabulary - 5, (options.pairs, tokens), device=options.device)
    for place, marker in ((1, 4), (third, 3), (2 * third, 2)):
        ids[:, place] = vocabulary - marker

    def run() -> None:
        with torch.inference_mode():
            for first in range(0, options.pairs, options.batch):
                batch = ids[first : first + options.batch]
                model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits.tolist()

    print(fastest(run, options.device, options.rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", choices=SHAPES, default="large")
    parser.add_argument("--tokens", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--dtypes", nargs="+", default=["float16", "float32"])
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="pairs in a batch of the reference")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", metavar="PYTHON", help="Python of the environment with llm-blender")
    parser.add_argument("--reference", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        reference(Path(options.reference), options, options.dtypes[0], options.tokens[0])
        return
    import pairrm_checkpoint as checkpoints

    shape = {**SHAPES[options.shape], "vocab": checkpoints.TINY["vocab"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints.write_checkpoint(folder / "ranker", checkpoints.ranker_config(), shape)
        checkpoints.write_checkpoint(folder / "hf", checkpoints.transformers_config(shape), shape)
        print("| format | tokens | way | pairs a second | of the floor |\n|---|---|---|---|---|")
        for dtype in options.dtypes:
            rate = reached(options.device, getattr(torch, dtype), options.rounds)
            for tokens in options.tokens:
                ids = torch.randint(5, shape["vocab"] - 5, (options.pairs, tokens)).tolist()
                floor = options.pairs * products(shape, tokens) / rate
                ways = {"ours": ours(folder / "ranker", ids, options, dtype)}
                if options.peer is not None:
                    command = [
                        options.peer,
                        __file__,
                        "--reference",
                        name,
                        "--device",
                        options.device,
                        "--dtypes",
                        dtype,
                    ]
                    command += ["--tokens", str(tokens), "--pairs", str(options.pairs), "--batch", str(options.batch)]
                    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    ways["llm-blender 0.0.2"] = float(told.split()[-1])
                for way, seconds in ways.items():
                    print(f"| {dtype} | {tokens} | {way} | {options.pairs / seconds:.1f} | {floor / seconds:.2f} |")


if __name__ == "__main__":
    main()

"""What would a better ranker take? Accuracy against judged prompts and against model size.

A linear reward head on the frozen hidden states of a pretrained model, fitted on growing numbers of judged open-ended
prompts. The head is the same everywhere, so what differs is the model and the data. The judged prompts are
``train/alpacaeval`` (not for shipped weights, by its licence); the test is its held-out prompts and ``blend_open11``.

    python research/benchmarks/reward_heads.py features --data DIR --out FOLDER --name minilm --model ENCODER_FOLDER
    python research/benchmarks/reward_heads.py features --data DIR --out FOLDER --name qwen --model FILE.gguf
    python research/benchmarks/reward_heads.py curve --data DIR --out FOLDER

``features`` keeps what it has every 16 prompts and goes on after a kill; ``curve`` prints the table.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from blender_core.rank.reward_head import FeatureExtractor, ReaderSettings, RewardHead
from blender_lab.data.preferences import PreferenceRecord, read_records
from blender_lab.reward_head.fit import JudgedVectors, choose_decay, fit_reward_head, pair_accuracy

Features = NDArray[np.float32]
JUDGED_PROMPTS, JUDGED_ANSWERS, HELD_OUT = 320, 5, 80
SIZES = (15, 30, 60, 120, 240)
REPEATS = 5
DECAYS = (0.03, 0.1, 0.3, 1.0, 3.0)
SMALLEST_GAP = 0.3


@dataclass(frozen=True, slots=True)
class Judged:
    """A prompt with the answers that take part."""

    prompt: str
    answers: tuple[str, ...]
    scores: tuple[float, ...]


def judged_sets(data: Path) -> dict[str, list[Judged]]:
    """The judged prompts and the test set, the same for every model."""
    draw = random.Random(0)
    train = []
    for record in read_records(data / "train" / "alpacaeval.jsonl.gz"):
        known = [i for i, answer in enumerate(record.candidates) if record.scores is not None and answer.strip()]
        if len(known) >= JUDGED_ANSWERS:
            train.append(chosen(record, sorted(draw.sample(known, JUDGED_ANSWERS))))
    draw.shuffle(train)
    test = [
        chosen(record, range(len(record.candidates)))
        for record in read_records(data / "eval" / "blend_open11.jsonl.gz")
    ]
    return {"judged": train[:JUDGED_PROMPTS], "open11": test}


def chosen(record: PreferenceRecord, indices: Sequence[int]) -> Judged:
    assert record.scores is not None
    return Judged(record.prompt, tuple(record.candidates[i] for i in indices), tuple(record.scores[i] for i in indices))


def write_features(data: Path, out: Path, name: str, model: str, layers: int) -> None:
    """Read every answer once; a killed run goes on."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    reader = FeatureExtractor.load(
        ReaderSettings(model, layers, prompt_tokens=96, answer_tokens=224, precision="bfloat16"), device="cpu"
    )
    for part, records in judged_sets(data).items():
        target = out / f"{name}.{part}.npy"
        known = list(np.load(target)) if target.is_file() else []
        start, count = 0, sum(len(record.answers) for record in records)
        for number, record in enumerate(records):
            if start >= len(known):
                known += list(reader.vectors(record.prompt, record.answers))
                if number % 16 == 15 or len(known) == count:
                    np.save(target, np.stack(known))
                    print(name, part, len(known), "of", count, flush=True)
            start += len(record.answers)


def judged_prompts(records: Sequence[Judged], features: Features) -> list[JudgedVectors]:
    """Vectors and clear pairs of each prompt; one without a clear pair has none."""
    prompts, start = [], 0
    for record in records:
        count = len(record.answers)
        pairs = [
            (i, j, 1.0)
            for i in range(count)
            for j in range(count)
            if record.scores[i] - record.scores[j] >= SMALLEST_GAP
        ]
        prompts.append(JudgedVectors(features[start : start + count], pairs))
        start += count
    return prompts


def fit(prompts: Sequence[JudgedVectors]) -> RewardHead:
    """A head on these prompts, its decay chosen by cross-validation on them."""
    judged = {"judged": [prompt for prompt in prompts if prompt.pairs]}
    decay, _ = choose_decay(judged, {"judged": 1.0}, DECAYS)
    return fit_reward_head(judged, {"judged": 1.0}, decay)


def accuracy(head: RewardHead, prompts: Sequence[JudgedVectors]) -> float:
    return pair_accuracy(head, [prompt for prompt in prompts if prompt.pairs])


def picked(head: RewardHead, records: Sequence[Judged], prompts: Sequence[JudgedVectors]) -> float:
    """Mean score of the answer with the highest reward."""
    picks = (int(np.argmax(head.scores(prompt.vectors))) for prompt in prompts)
    return fmean(record.scores[pick] for record, pick in zip(records, picks, strict=True))


def curve(data: Path, out: Path) -> None:
    """Fit on growing numbers of prompts and print a markdown table."""
    torch.set_num_threads(1)
    sets = judged_sets(data)
    test = sets["open11"]
    print("| model | " + " | ".join(f"{size} prompts" for size in SIZES) + " | open11 pairs | open11 pick |")
    print("|---" * (len(SIZES) + 3) + "|")
    for path in sorted(out.glob("*.judged.npy")):
        name = path.name.removesuffix(".judged.npy")
        judged = judged_prompts(sets["judged"], np.load(path))
        held_out, pool = judged[:HELD_OUT], judged[HELD_OUT:]
        cells = []
        for size in SIZES:
            draw = random.Random(size)
            found = []
            for _ in range(1 if size == len(pool) else REPEATS):
                head = fit(draw.sample(pool, size))
                found.append(accuracy(head, held_out))
            cells.append(f"{100 * fmean(found):.1f}")
        test_path = out / f"{name}.open11.npy"
        last = ["-", "-"]
        if test_path.is_file():
            features = np.load(test_path)
            if len(features) == sum(len(record.answers) for record in test):
                prompts = judged_prompts(test, features)
                last = [f"{100 * accuracy(head, prompts):.1f}", f"{picked(head, test, prompts):.3f}"]
        print(f"| {name} | " + " | ".join([*cells, *last]) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("features", "curve"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name")
    parser.add_argument("--model", help="folder of an encoder, or a .gguf file")
    parser.add_argument("--layers", type=int, default=0, help="use only the lowest layers; 0 for all")
    options = parser.parse_args()
    if options.what == "curve":
        curve(options.data, options.out)
    elif options.name is None or options.model is None:
        parser.error("features needs --name and --model")
    else:
        write_features(options.data, options.out, options.name, options.model, options.layers)


if __name__ == "__main__":
    main()

"""What would a better ranker take? Accuracy against judged prompts and against model size.

A linear reward head on the frozen hidden states of a pretrained model, fitted on growing numbers of judged open-ended
prompts. The head is the same everywhere, so what differs is the model and the data. The judged prompts are
``train/alpacaeval`` (not for shipped weights, by its licence); the test is its held-out prompts and ``blend_open11``.

    python benchmarks/reward_heads.py features --data DIR --out FOLDER --name minilm --model ENCODER_FOLDER
    python benchmarks/reward_heads.py features --data DIR --out FOLDER --name qwen --model FILE.gguf --layers 12
    python benchmarks/reward_heads.py curve --data DIR --out FOLDER

``features`` keeps what it has every 64 answers and goes on after a kill; ``curve`` prints the table.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blender_core.train.records import PreferenceRecord, read_records

Features = NDArray[np.float32]
JUDGED_PROMPTS, JUDGED_ANSWERS, HELD_OUT = 320, 5, 80
PROMPT_TOKENS, ANSWER_TOKENS = 96, 224
SIZES = (15, 30, 60, 120, 240)
REPEATS = 8
DECAYS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
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


def without_middle(ids: list[int], room: int) -> list[int]:
    tail = room // 2
    return ids if len(ids) <= room else ids[: room - tail] + ids[len(ids) - tail :]


class Reader:
    """A frozen model that turns (prompt, answer) into one vector: mean of the answer's states, and the summary state.

    The summary is the first token of an encoder and the last token of a decoder.
    """

    def __init__(self, model: str, layers: int) -> None:
        from transformers import AutoModel, AutoTokenizer

        path = Path(model)
        source: dict[str, Any] = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        where = str(path.parent if source else path)
        self.tokenizer = AutoTokenizer.from_pretrained(where, split_special_tokens=True, **source)
        network = AutoModel.from_pretrained(where, dtype=torch.float32, **source)
        self.decoder = bool(source)
        if layers:
            stack = network.layers if hasattr(network, "layers") else network.encoder.layer
            del stack[layers:]
        self.network = network.eval().to(torch.bfloat16 if self.decoder else torch.float32)

    def ids(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def frame(self, prompt: str, answer: str) -> tuple[list[int], int, int]:
        """Token ids, and where the answer begins and ends."""
        if self.decoder:
            question = without_middle(self.ids(prompt), PROMPT_TOKENS)
            start = self.ids("Question:\n") + question + self.ids("\n\nAnswer:\n")
            end: list[int] = []
        else:
            separator = int(self.tokenizer.sep_token_id)
            start = [int(self.tokenizer.cls_token_id), *without_middle(self.ids(prompt), PROMPT_TOKENS), separator]
            end = [separator]
        body = without_middle(self.ids(answer), ANSWER_TOKENS) or self.ids("-")
        return [*start, *body, *end], len(start), len(start) + len(body)

    @torch.inference_mode()
    def read(self, prompt: str, answer: str) -> Features:
        """The vector of one answer."""
        ids, first, last = self.frame(prompt, answer)
        hidden: Tensor = self.network(input_ids=torch.tensor([ids])).last_hidden_state[0].float()
        summary = hidden[-1] if self.decoder else hidden[0]
        return torch.cat([hidden[first:last].mean(0), summary]).numpy()


def write_features(data: Path, out: Path, name: str, model: str, layers: int) -> None:
    """Read every answer once; a killed run goes on."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    reader = Reader(model, layers)
    for part, records in judged_sets(data).items():
        rows = [(record.prompt, answer) for record in records for answer in record.answers]
        target = out / f"{name}.{part}.npy"
        known = list(np.load(target)) if target.is_file() else []
        for number in range(len(known), len(rows)):
            known.append(reader.read(*rows[number]))
            if len(known) % 64 == 0 or len(known) == len(rows):
                np.save(target, np.stack(known))
                print(name, part, len(known), "of", len(rows), flush=True)


def pairs_of(records: Sequence[Judged], rows: Sequence[Features]) -> Tensor:
    """One row a pair with a clear order: features of the better answer minus those of the worse."""
    differences = [
        features[i] - features[j]
        for record, features in zip(records, rows, strict=True)
        for i in range(len(record.answers))
        for j in range(len(record.answers))
        if record.scores[i] - record.scores[j] >= SMALLEST_GAP
    ]
    return torch.tensor(np.stack(differences), dtype=torch.float64)


def fit_head(differences: Tensor, decay: float) -> Tensor:
    """Logistic regression without intercept: its weights are the reward head."""
    weights = torch.zeros(differences.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.softplus(-(differences @ weights)).mean() + decay * weights.square().mean() * 50
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    return weights.detach()


def accuracy(differences: Tensor, weights: Tensor) -> float:
    return float((differences @ weights > 0).double().mean())


def fit_with_best_decay(records: Sequence[Judged], rows: Sequence[Features]) -> Tensor:
    """The weight decay that does best on every fourth of the same prompts, then a fit on all of them."""
    inner = [i % 4 != 0 for i in range(len(records))]
    train = pairs_of(*split(records, rows, inner))
    check = pairs_of(*split(records, rows, [not take for take in inner]))
    best = max(DECAYS, key=lambda decay: accuracy(check, fit_head(train, decay)))
    return fit_head(pairs_of(records, rows), best)


def split(
    records: Sequence[Judged], rows: Sequence[Features], take: Sequence[bool]
) -> tuple[list[Judged], list[Features]]:
    kept = [i for i, wanted in enumerate(take) if wanted]
    return [records[i] for i in kept], [rows[i] for i in kept]


def by_record(records: Sequence[Judged], features: Features) -> list[Features]:
    rows, start = [], 0
    for record in records:
        rows.append(features[start : start + len(record.answers)])
        start += len(record.answers)
    return rows


def picked(records: Sequence[Judged], rows: Sequence[Features], weights: Tensor) -> float:
    """Mean score of the answer with the highest reward."""
    picks = (int(np.argmax(features @ weights.numpy())) for features in rows)
    return fmean(record.scores[pick] for record, pick in zip(records, picks, strict=True))


def curve(data: Path, out: Path) -> None:
    """Fit on growing numbers of prompts and print a markdown table."""
    torch.set_num_threads(1)
    sets = judged_sets(data)
    judged, test = sets["judged"], sets["open11"]
    print("| model | " + " | ".join(f"{size} prompts" for size in SIZES) + " | open11 pairs | open11 pick |")
    print("|---" * (len(SIZES) + 3) + "|")
    for path in sorted(out.glob("*.judged.npy")):
        name = path.name.removesuffix(".judged.npy")
        features = np.load(path)
        mean, deviation = features.mean(0), features.std(0) + 1e-6
        rows = by_record(judged, (features - mean) / deviation)
        pool, held_out = (judged[HELD_OUT:], rows[HELD_OUT:]), pairs_of(judged[:HELD_OUT], rows[:HELD_OUT])
        cells = []
        for size in SIZES:
            draw = random.Random(size)
            found = []
            for _ in range(1 if size == len(pool[0]) else REPEATS):
                take = set(draw.sample(range(len(pool[0])), size))
                weights = fit_with_best_decay(*split(*pool, [i in take for i in range(len(pool[0]))]))
                found.append(accuracy(held_out, weights))
            cells.append(f"{100 * fmean(found):.1f}")
        test_path = out / f"{name}.open11.npy"
        last = ["-", "-"]
        if test_path.is_file():
            test_features = (np.load(test_path) - mean) / deviation
            if len(test_features) == sum(len(record.answers) for record in test):
                test_rows = by_record(test, test_features)
                last = [
                    f"{100 * accuracy(pairs_of(test, test_rows), weights):.1f}",
                    f"{picked(test, test_rows, weights):.3f}",
                ]
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

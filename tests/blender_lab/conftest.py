"""Made-up records and a tiny encoder."""

from __future__ import annotations

import gzip
import json

import pytest

WORDS = ["sun", "moon", "star", "sea", "hill", "tree", "bird", "fish", "road", "door", "bread", "salt"]


def toy_record(number, rng, *, source="toy"):
    """The right answer repeats the prompt's words, the wrong ones use others."""
    words = list(rng.permutation(WORDS))
    candidates = [" ".join(words[:3]), " ".join(words[3:6]), " ".join(words[6:9])]
    return {
        "id": f"{source}-{number}",
        "source": source,
        "instruction": " ".join(words[:3]) + f" {number}",
        "candidates": [
            {"model": f"model-{index}", "text": text, "score": float(index == 0)}
            for index, text in enumerate(candidates)
        ],
        "comparisons": [[0, 1, "A"], [2, 0, "B"]],
    }


def write_records(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@pytest.fixture(scope="session")
def make_toy_data():
    """Writes a data folder with 60 toy records, each changed by a function."""
    import numpy as np

    def make(folder, change=lambda record: record):
        rng = np.random.default_rng(0)
        write_records(folder / "train" / "toy.jsonl.gz", [change(toy_record(number, rng)) for number in range(60)])
        return folder

    return make


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory, make_toy_data):
    """A data folder with 60 toy records."""
    return make_toy_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def toy_encoder(tmp_path_factory):
    """The folder of a random one-layer BERT encoder whose tokenizer knows the toy words."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    from blender_lab.ranker.one_pass import tiny_encoder

    folder = tmp_path_factory.mktemp("encoder")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "…", *WORDS, *map(str, range(60))]
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    tiny_encoder(vocabulary=len(tokens)).save_pretrained(folder)
    return folder


@pytest.fixture
def toy_config(toy_encoder, tmp_path):
    """Settings of a run of a few seconds."""
    from blender_lab import RankerTrainingConfig

    def make(**changes):
        settings = {
            "encoder": str(toy_encoder),
            "output": str(tmp_path / "run"),
            "sources": {"toy": {"file": "train/toy.jsonl.gz", "group": 3}},
            "stages": [{"max_tokens": 32}],
            "steps": 60,
            "records_per_step": 8,
            "learning_rate": 3e-3,
            "head_learning_rate": 3e-3,
            "dropout": 0.0,
            "freeze_embeddings": False,
            "head_size": 16,
            "corruption": 0.0,
            "development_share": 0.2,
            "evaluate_every": 1000,
            "precision": "float32",
        }
        return RankerTrainingConfig.from_dict({**settings, **changes})

    return make

"""Made-up records, a tiny T5 and a tiny Llama."""

from __future__ import annotations

import gzip
import json
import random

import pytest
import tiny_models

WORDS = ["licence", "copy", "work", "notice", "source", "form", "grant", "claim", "patent", "terms"]


def record(number, rng):
    """The reference is the word that two of three candidates agree on."""
    right, wrong = rng.sample(WORDS, 2)
    return {
        "id": f"toy-{number}",
        "instruction": f"Which word, {number}?",
        "input": "",
        "output": f"the {right}",
        "candidates": [
            {"decoding_method": "", "model": name, "text": text, "scores": {}}
            for name, text in (("a", f"the {right}"), ("b", f"the  {right} "), ("c", f"a {wrong}"), ("d", " "))
        ],
        "cmp_results": "null",
    }


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder with 40 records in MixInstruct's schema and 4 of the other."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("fuser_data")
    records = [record(number, rng) for number in range(40)]
    (folder / "mix.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    with gzip.open(folder / "referenced.jsonl.gz", "wt") as file:
        for one in records[:4]:
            line = {key: one[key] for key in ("id", "instruction", "candidates")}
            file.write(json.dumps({**line, "source": "toy", "comparisons": [], "reference": one["output"]}) + "\n")
    return folder


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("t5")
    tiny_models.save_t5(folder, width=32, heads=2, layers=1)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("llama")
    tiny_models.save_llama(folder, width=32, layers=1, heads=2, tie_word_embeddings=True)
    return folder


@pytest.fixture
def make_config(tmp_path):
    """Settings of a run of a few seconds."""
    from blender_lab import FuserTrainingConfig

    def make(model, **changes):
        settings = {
            "model": str(model),
            "output": str(tmp_path / "run"),
            "files": ["mix.jsonl"],
            "ranker": "consensus",
            "top_k": 2,
            "max_length": 400,
            "epochs": 2,
            "learning_rate": 3e-3,
            "batch_size": 2,
            "accumulate": 2,
            "bfloat16": False,
            "development_share": 0.15,
            "development_records": 2,
            "test_share": 0.1,
            "evaluate_every": 4,
            "save_every": 4,
            "log_every": 1,
            "device": "cpu",
            "threads": 1,
            "seed": 0,
        }
        return FuserTrainingConfig.from_dict({**settings, **changes})

    return make

"""Fitting a reward head: it finds what made the labels, goes on after a kill, and teaches a smaller ranker."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from typer.testing import CliRunner  # noqa: E402

from blender_core.errors import ConfigurationError  # noqa: E402
from blender_core.rank.reward_head import ReaderSettings, RewardHeadRanker  # noqa: E402
from blender_lab.ranker.train import train_ranker  # noqa: E402
from blender_lab.reward_head.config import RewardHeadConfig  # noqa: E402
from blender_lab.reward_head.fit import (  # noqa: E402
    JudgedVectors,
    choose_decay,
    fit_reward_head,
    pair_accuracy,
    train_reward_head,
)

RNG = np.random.default_rng(0)
TRUE = RNG.normal(size=6)


def made(count, *, sign=1.0):
    """Prompts whose better answer is the one with more of ``TRUE`` in it."""
    prompts = []
    for _ in range(count):
        vectors = (RNG.normal(size=(4, 6)) * 3 + 5).astype(np.float32)
        quality = sign * (vectors @ TRUE)
        pairs = [(i, j, float(quality[i] > quality[j])) for i in range(4) for j in range(i + 1, 4)]
        prompts.append(JudgedVectors(vectors, pairs))
    return prompts


class Shared:
    """Reads how many of the prompt's words an answer repeats; counts what it reads."""

    settings = ReaderSettings("shared")

    def __init__(self):
        self.read = 0

    def vectors(self, prompt, answers):
        self.read += len(answers)
        words = set(prompt.split())
        return np.array([[len(words & set(text.split())), len(text)] for text in answers], np.float32)


@pytest.fixture
def config(tmp_path):
    def make(**changes):
        settings = {
            "reader": {"model": "shared"},
            "output": str(tmp_path / "head"),
            "sources": {"toy": {"file": "train/toy.jsonl.gz"}},
            "development_share": 0.2,
        }
        return RewardHeadConfig.from_dict({**settings, **changes})

    return make


def test_finds_the_direction_that_made_the_labels():
    head = fit_reward_head({"a": made(60)}, {"a": 1.0}, 1e-3)
    assert pair_accuracy(head, made(60)) > 0.97
    direction = head.weights / head.deviation
    assert direction @ TRUE / np.linalg.norm(direction) / np.linalg.norm(TRUE) > 0.98


def test_a_share_decides_between_sources_that_disagree():
    judged = {"many": made(60), "few": made(10, sign=-1.0)}
    for heavy, sign in (("many", 1.0), ("few", -1.0)):
        shares = {name: 1.0 if name == heavy else 0.1 for name in judged}
        assert pair_accuracy(fit_reward_head(judged, shares, 1e-2), made(40, sign=sign)) > 0.8


def test_soft_labels_give_a_calibrated_margin():
    prompts = [JudgedVectors(np.array([[0.0], [1.0]], np.float32), [(1, 0, 0.8)]) for _ in range(20)]
    head = fit_reward_head({"a": prompts}, {"a": 1.0}, 1e-6)
    scores = head.scores(prompts[0].vectors)
    assert 1.0 / (1.0 + np.exp(scores[0] - scores[1])) == pytest.approx(0.8, abs=0.01)


def test_noise_asks_for_a_stronger_decay():
    noisy = [JudgedVectors(RNG.normal(size=(4, 40)).astype(np.float32), [(0, 1, 1.0), (2, 3, 1.0)]) for _ in range(12)]
    decay, tried = choose_decay({"a": noisy}, {"a": 1.0}, (1e-4, 1.0))
    assert set(tried) == {1e-4, 1.0}
    assert tried[decay] == max(tried.values())
    with pytest.raises(ConfigurationError, match="no source has a pair"):
        fit_reward_head({"a": []}, {"a": 1.0}, 1.0)


def test_a_run_reads_every_answer_once_and_goes_on(config, toy_data, tmp_path):
    reader = Shared()
    seen = []
    numbers = train_reward_head(config(), data=toy_data, reader=reader, report=lambda *told: seen.append(told))
    assert numbers["held_out"]["toy"]["accuracy"] == 1.0
    assert seen[-1] == ("toy", 60, 60)
    assert reader.read == 180
    assert json.loads((tmp_path / "head" / "development.json").read_text()) == numbers
    again = Shared()
    assert train_reward_head(config(), data=toy_data, reader=again) == numbers
    assert again.read == 0
    # what was read is known to the loaded ranker, without any model
    line = next(iter(_toy_records(toy_data)))
    ranking = RewardHeadRanker.load(tmp_path / "head").rank(line.prompt, line.candidates)
    assert ranking.best == line.scores.index(1.0)


def test_a_head_teaches_a_smaller_ranker(config, toy_config, toy_data, tmp_path):
    train_reward_head(config(), data=toy_data, reader=Shared())
    folder = str(tmp_path / "head")
    student = toy_config(
        output=str(tmp_path / "student"), steps=2, teacher={"ranker": folder, "weight": 0.5}, development_share=0.2
    )
    assert train_ranker(student, data=toy_data).steps == 2
    rows = (tmp_path / "student" / "teacher" / "toy.jsonl").read_text().splitlines()
    assert all(json.loads(row)["logits"] for row in rows)


def test_the_command_reads_with_a_real_network(toy_data, tmp_path, toy_encoder):
    from transformers import PreTrainedTokenizerFast

    from blender_core.cli.app import app

    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in toy_encoder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    file = tmp_path / "head.toml"
    file.write_text(
        f'output = "{tmp_path / "out"}"\ndevelopment_share = 0.2\n[reader]\nmodel = "{folder}"\nprecision = "float32"\n'
        '[sources.toy]\nfile = "train/toy.jsonl.gz"\n'
    )
    result = CliRunner().invoke(app, ["train", "reward-head", str(file), "--data", str(toy_data)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["training_prompts"]["toy"] > 30


@pytest.mark.parametrize(
    "change",
    [
        {"sources": {}},
        {"decays": []},
        {"decays": [0.0]},
        {"development_share": 1.0},
        {"threads": 0},
        {"colour": "red"},
        {"reader": {"shape": 1}},
    ],
)
def test_settings_that_cannot_work(config, change):
    with pytest.raises(ConfigurationError):
        config(**change)


def _toy_records(data):
    from blender_lab.data.preferences import read_records

    return read_records(data / "train" / "toy.jsonl.gz")

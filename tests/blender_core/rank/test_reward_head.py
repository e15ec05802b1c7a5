"""A linear head on frozen states, as a ranker."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from blender_core.errors import CheckpointError, RankerError
from blender_core.rank import Ranker
from blender_core.rank.reward_head import ReaderSettings, RewardHead, RewardHeadRanker


class Lengths:
    """Reads an answer as its length and its count of vowels."""

    settings = ReaderSettings("lengths")

    def vectors(self, prompt, answers):
        return np.array([[len(text), sum(text.count(letter) for letter in "aeiou")] for text in answers], np.float32)


HEAD = RewardHead(mean=np.array([3.0, 1.0]), deviation=np.array([2.0, 0.5]), weights=np.array([1.0, -0.25]))


def test_scores_are_the_heads_and_comparisons_their_differences():
    ranker = RewardHeadRanker(Lengths(), HEAD)
    assert isinstance(ranker, Ranker)
    ranking = ranker.rank("?", ["sky", "area", " ", "sky"])
    assert ranking.scores == pytest.approx([0.5, -0.5, -math.inf, 0.5])
    assert ranking.comparisons[0][1] == pytest.approx(1.0)
    assert ranking.comparisons[0][3] == 0.0
    assert ranking.best == 0


def test_blanks_alone():
    assert RewardHeadRanker(Lengths(), HEAD).rank("?", ["", " "]).scores == (-math.inf, -math.inf)


def test_a_head_of_another_model():
    wide = RewardHead(np.zeros(3), np.ones(3), np.ones(3))
    with pytest.raises(RankerError, match="vectors of 3 numbers, lengths gives 2"):
        RewardHeadRanker(Lengths(), wide).rank("?", ["a", "b"])


def test_saved_and_loaded_it_ranks_the_same(tmp_path, frozen_folder):
    pytest.importorskip("torch")
    from blender_core.rank.registry import resolve_ranker
    from blender_core.rank.reward_head import FeatureExtractor

    reader = FeatureExtractor.load(ReaderSettings(str(frozen_folder("decoder")), precision="float32"), device="cpu")
    rng = np.random.default_rng(0)
    head = RewardHead(rng.normal(size=64), rng.uniform(0.5, 1.5, 64), rng.normal(size=64))
    ranker = RewardHeadRanker(reader, head)
    ranker.save(tmp_path / "mine")
    loaded = resolve_ranker(str(tmp_path / "mine"))
    assert loaded.name == "reward-head-mine"
    answers = ["sun", "moon star", "tree bird"]
    assert loaded.rank("name a sea", answers).scores == pytest.approx(
        ranker.rank("name a sea", answers).scores, rel=2e-2
    )


def test_folders_that_hold_no_head(tmp_path):
    pytest.importorskip("safetensors")
    with pytest.raises(CheckpointError, match="train it again"):
        RewardHeadRanker.load(tmp_path)
    RewardHeadRanker(Lengths(), HEAD).save(tmp_path)
    settings = json.loads((tmp_path / "reward_head.json").read_text())
    (tmp_path / "reward_head.json").write_text(json.dumps({**settings, "format": 2}))
    with pytest.raises(CheckpointError, match="format 2"):
        RewardHeadRanker.load(tmp_path)
    (tmp_path / "reward_head.json").write_text(json.dumps(settings))
    (tmp_path / "head.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="train it again"):
        RewardHeadRanker.load(tmp_path)


@pytest.fixture(scope="module")
def packaged():
    """The ranker in the package, whose model is read from its GGUF file."""
    for module in ("torch", "transformers", "gguf"):
        pytest.importorskip(module)
    from blender_core.rank.registry import resolve_ranker

    return resolve_ranker("reward-head")


@pytest.mark.local_models
@pytest.mark.slow
# reading the file takes minutes if the machine is busy
@pytest.mark.timeout(900)
def test_the_head_in_the_package_ranks_with_its_real_model(packaged):
    ranking = packaged.rank(
        "Give me three tips for a job interview.",
        [
            "tips tips tips tips",
            "1. Read about the company beforehand.\n2. Prepare examples of your work.\n3. Ask questions at the end.",
            "I am sorry, but I cannot help with that.",
        ],
    )
    assert packaged.name == "reward-head"
    assert ranking.best == 1
    assert ranking.confidence > 0.6


@pytest.mark.local_models
@pytest.mark.slow
# reading the file takes minutes if the machine is busy
@pytest.mark.timeout(900)
def test_a_real_model_reads_like_answers_alike(packaged):
    answers = ["Paris.", "It is Paris.", "def f(x): return x"]
    near, same, far = packaged._reader.vectors("What is the capital of France?", answers)

    def cosine(one, other):
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert near.shape == (2 * 896,)
    assert cosine(near, same) > cosine(near, far)

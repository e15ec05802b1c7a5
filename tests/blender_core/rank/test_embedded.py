"""The ranker that ships with the package."""

from __future__ import annotations

import json
import math
import shutil
import threading
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.rank import Ranker
from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.registry import resolve_ranker

WEIGHTS = Path(str(files("blender_core.rank") / "embedded_weights"))
ANSWERS = [
    "Regular exercise strengthens the heart, lifts the mood and helps you sleep.",
    "1. Better mood\n2. A stronger heart\n3. Easier weight control",
    "You could go for a walk.",
    "A banana is a yellow fruit that grows in the tropics.",
    "heart heart heart heart heart heart heart",
    "I cannot help with that.",
]
PROMPT = "Name three benefits of regular exercise."


@pytest.fixture(scope="module")
def ranker():
    return EmbeddedRanker.load()


class Session:
    """Stands for the model: hands out what a test wants."""

    def __init__(self, value):
        self.value = value

    def run(self, names, feeds):
        import numpy as np

        return [np.full(len(feeds["input_ids"]), self.value, dtype=np.float32)]


def test_is_a_ranker(ranker):
    assert isinstance(ranker, Ranker)
    assert ranker.rank(PROMPT, ANSWERS).ranker == ranker.name == "embedded"


def test_comparisons_are_score_differences(ranker):
    ranking = ranker.rank(PROMPT, ANSWERS)
    for i, row in enumerate(ranking.comparisons):
        for j, logit in enumerate(row):
            assert logit == pytest.approx(ranking.scores[i] - ranking.scores[j], abs=1e-9)
            assert logit == -ranking.comparisons[j][i]
    assert 0.5 <= ranking.confidence <= 1.0


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(ANSWERS))))
def test_order_of_candidates_does_not_matter(ranker, order):
    expected = [ANSWERS[index] for index in ranker.rank(PROMPT, ANSWERS).order]
    shuffled = [ANSWERS[index] for index in order]
    ranking = ranker.rank(PROMPT, shuffled)
    assert [shuffled[index] for index in ranking.order] == expected


def test_a_score_does_not_depend_on_the_other_texts(ranker):
    together, _ = ranker.score(PROMPT, ANSWERS)
    assert together == [ranker.score(PROMPT, [text])[0][0] for text in ANSWERS]
    all_at_once = ranker.measure(PROMPT, ANSWERS, similarity=True)
    for index, text in enumerate(ANSWERS):
        alone = ranker.measure(PROMPT, [text], similarity=True)
        assert (alone.encoder[0], alone.similarity[0]) == (all_at_once.encoder[index], all_at_once.similarity[index])


def test_without_similarity_the_sentence_encoder_is_not_asked(ranker):
    with_it = ranker.measure(PROMPT, ANSWERS[:2], similarity=True)
    assert with_it.similarity[0] > 0
    assert set(ranker.measure(PROMPT, ANSWERS[:2], similarity=False).similarity) == {0.0}


def test_duplicates_tie_and_blanks_come_last(ranker):
    ranking = ranker.rank(PROMPT, ["", ANSWERS[3], ANSWERS[0], " \n", ANSWERS[0] + " "])
    assert ranking.scores[2] == ranking.scores[4]
    assert (2, 4) in ranking.ties
    assert ranking.comparisons[2][4] == 0.0
    assert set(ranking.order[3:]) == {0, 3}
    assert ranking.scores[0] == -math.inf
    assert math.isnan(ranking.comparisons[0][1])


def test_one_candidate(ranker):
    ranking = ranker.rank(PROMPT, ["Better sleep."])
    assert ranking.order == (0,)
    assert ranking.confidence == 1.0


def test_only_blanks(ranker):
    assert ranker.rank(PROMPT, ["", "  "]).scores == (-math.inf, -math.inf)


def test_thirty_candidates(ranker):
    candidates = [f"{ANSWERS[index % 6]} Point {index}." for index in range(30)]
    ranking = ranker.rank(PROMPT, candidates)
    assert sorted(ranking.order) == list(range(30))
    assert all(math.isfinite(score) for score in ranking.scores)


def test_on_topic_beats_off_topic(ranker):
    ranking = ranker.rank(PROMPT, ANSWERS)
    assert ranking.ranks[0] < ranking.ranks[3]
    assert ranking.ranks[1] < ranking.ranks[3]


def test_majority_on_the_final_answer_wins(ranker):
    candidates = ["2 + 2 = 5, so the answer is 5.", "The answer is 4.", "Two and two make four. Answer: 4"]
    assert ranker.rank("What is 2 + 2?", candidates).order[-1] == 0


def test_special_tokens_in_texts_are_ordinary_text(ranker):
    plain, _ = ranker.score("Say hi", ["hi"])
    faked, _ = ranker.score("Say hi [SEP] hi", ["hi"])
    assert plain != faked
    tokenizer = ranker._tokenizer
    special = {tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]")}
    assert not special & set(ranker._encode("[CLS] a [SEP] b [PAD] c [MASK] [UNK]"))


def test_long_texts_are_cut_and_reported(ranker):
    long = "word " * 3000
    ranking = ranker.rank(PROMPT, [ANSWERS[0], long])
    assert set(ranking.cut) == {1}
    assert 3000 - ranker.settings.max_tokens < ranking.cut[1] < 3000
    both = ranker.rank(long, [ANSWERS[0], long])
    assert both.cut[-1] > 0


def test_end_of_a_long_answer_counts(ranker):
    long = "word " * 1000
    first, second = ranker.score(PROMPT, [long + "alpha beta", long + "gamma delta epsilon"])[0]
    assert first != second


@settings(max_examples=25)
@given(prompt=st.text(max_size=60), candidates=st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_is_ranked(ranker, prompt, candidates):
    ranking = ranker.rank(prompt, candidates)
    assert sorted(ranking.order) == list(range(len(candidates)))


def test_lone_surrogate_is_ranked(ranker):
    assert len(ranker.rank("a \ud800 b", ["c \udfff", "d"]).order) == 2


def test_threads_share_one_ranker(ranker):
    expected = ranker.rank(PROMPT, ANSWERS)
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.append(ranker.rank(PROMPT, ANSWERS)), daemon=True) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 4


def test_caller_keeps_the_list(ranker):
    candidates = list(ANSWERS)
    ranker.rank(PROMPT, candidates)
    assert candidates == ANSWERS


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_an_error(ranker, value):
    with pytest.raises(RankerError, match="cannot be ordered"):
        ranker.with_session(Session(value)).rank(PROMPT, ANSWERS)


@pytest.mark.parametrize("candidates", [[], "text", [None]])
def test_unusable_candidates(ranker, candidates):
    with pytest.raises(ConfigurationError):
        ranker.rank(PROMPT, candidates)


@pytest.fixture
def copied(tmp_path):
    for name in ("ranker.json", "tokenizer.json", "model.int8.onnx"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    return tmp_path


def test_loads_from_a_folder(ranker, copied):
    own = EmbeddedRanker.load(copied)
    assert own.name.startswith("embedded-")
    assert replace(own.rank(PROMPT, ANSWERS), ranker="embedded") == ranker.rank(PROMPT, ANSWERS)
    assert replace(resolve_ranker(str(copied)).rank(PROMPT, ANSWERS), ranker="embedded") == ranker.rank(PROMPT, ANSWERS)


@pytest.mark.parametrize("name", ["ranker.json", "tokenizer.json", "model.int8.onnx"])
def test_missing_file(copied, name):
    (copied / name).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        EmbeddedRanker.load(copied)


def test_damaged_weights(copied):
    data = bytearray((copied / "model.int8.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copied / "model.int8.onnx").write_bytes(data)
    with pytest.raises(CheckpointError, match="sha256"):
        EmbeddedRanker.load(copied)


def test_damaged_settings_and_tokenizer(copied):
    good = json.loads((copied / "ranker.json").read_text())
    for name, value in (("max_tokens", "many"), ("max_tokens", 0.35), ("temperature", 0), ("temperature", math.nan)):
        (copied / "ranker.json").write_text(json.dumps({**good, name: value}))
        with pytest.raises(CheckpointError, match=r"ranker\.json"):
            EmbeddedRanker.load(copied)
    (copied / "ranker.json").write_text(json.dumps(good))
    (copied / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        EmbeddedRanker.load(copied)


def test_unusable_settings():
    with pytest.raises(ConfigurationError, match="threads is 0"):
        EmbeddedRanker.load(threads=0)


def test_shipped_files_are_small_and_described():
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 40_000_000
    assert {"ranker.json", "tokenizer.json", "model.int8.onnx", "README.md"} <= {f.name for f in WEIGHTS.iterdir()}

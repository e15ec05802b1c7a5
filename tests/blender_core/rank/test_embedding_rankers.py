"""Agreement in meaning, and similarity to the prompt, under an encoder that counts letters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import RankerError
from blender_core.rank import BiEncoderRanker, EmbeddingConsensusRanker, Ranker, TextEncoder

LETTERS = "abcdefghijklmnopqrstuvwxyz"
texts = st.lists(st.text("abc ", max_size=6), min_size=1, max_size=6)


def letters(batch):
    return np.array([[text.count(letter) for letter in LETTERS] for text in batch], dtype=np.float32)


@pytest.fixture(params=[EmbeddingConsensusRanker, BiEncoderRanker])
def ranker(request):
    return request.param(letters)


def test_the_candidate_nearest_to_all_others_wins():
    ranking = EmbeddingConsensusRanker(letters).rank("?", ["abz", "abc", "xyz", "abd"])
    cosines = [[2 / 3, 2 / 3, 1 / 3], [2 / 3, 2 / 3, 0], [1 / 3, 0, 0], [2 / 3, 2 / 3, 0]]
    assert ranking.scores == pytest.approx([sum(row) / 3 for row in cosines])
    assert ranking.order == (0, 1, 3, 2)
    assert ranking.ties == ((1, 3),)


def test_copies_are_votes():
    ranking = EmbeddingConsensusRanker(letters).rank("?", ["abc", "xyz", "xyz ", "abd"])
    assert ranking.best == 1
    assert ranking.scores == pytest.approx([2 / 9, 1 / 3, 1 / 3, 2 / 9])


def test_two_candidates_always_agree_equally():
    assert EmbeddingConsensusRanker(letters).rank("?", ["abc", "abd"]).ties == ((0, 1),)


def test_the_candidate_most_like_the_prompt_wins():
    ranking = BiEncoderRanker(letters).rank("abc", ["xyz", "cab", "abz"])
    assert ranking.order == (1, 2, 0)
    assert ranking.scores == pytest.approx((0.0, 1.0, 2 / 3))


def test_prompts_may_have_an_encoder_of_their_own():
    backwards = BiEncoderRanker(TextEncoder(letters, queries=lambda batch: letters(batch)[:, ::-1]))
    assert backwards.rank("abc", ["abc", "xyz"]).best == 1


@given(texts, st.randoms(use_true_random=False))
def test_scores_stay_with_their_texts(candidates, random):
    for ranker in (EmbeddingConsensusRanker(letters), BiEncoderRanker(letters)):
        scores = ranker.rank("ab", candidates).scores
        order = list(range(len(candidates)))
        random.shuffle(order)
        shuffled = ranker.rank("ab", [candidates[index] for index in order]).scores
        assert [scores[index] for index in order] == pytest.approx(shuffled)


def test_blanks_and_copies(ranker):
    ranking = ranker.rank("abc", [" ", "abc", "abc "])
    assert ranking.scores[0] == -math.inf
    assert (1, 2) in ranking.ties
    assert ranker.rank("abc", [" ", ""]).order == (0, 1)
    assert ranker.rank("abc", ["abc", ""]).confidence == 1.0
    assert ranker.rank("abc", ["abc", "abd", "xyz"]).confidence == 0.5
    assert isinstance(ranker, Ranker)


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda batch: np.zeros(len(batch)), r"shape \(\d,\)"),
        (lambda batch: np.zeros((1, 4)), r"shape \(1, 4\)"),
        (lambda batch: np.full((len(batch), 4), np.nan), "not finite"),
    ],
)
@pytest.mark.parametrize("kind", [EmbeddingConsensusRanker, BiEncoderRanker])
def test_encoders_that_cannot_be_used(kind, encode, message):
    with pytest.raises(RankerError, match=message):
        kind(encode).rank("?", ["a", "b"])


def test_a_text_without_a_vector_is_like_nothing():
    assert EmbeddingConsensusRanker(letters).rank("?", ["123", "ab", "abc"]).scores[0] == 0.0

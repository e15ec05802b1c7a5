"""The sentence encoder that ships in the package."""

from __future__ import annotations

import numpy as np
import pytest

from blender_core.errors import RankerError
from blender_core.models.sentence_encoder import SentenceEncoder
from blender_core.rank import BiEncoderRanker

TEXTS = ["What is the capital of France?", "Paris is the capital of France.", "Rome is the capital of France.", ""]


@pytest.fixture(scope="module")
def encoder():
    return SentenceEncoder.load()


def test_vectors_have_length_one_and_do_not_depend_on_the_other_texts(encoder):
    together = encoder(TEXTS)
    assert together.shape == (4, 384)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert (together[1] == encoder([TEXTS[1]])[0]).all()


def test_knows_which_answer_belongs_to_a_question(encoder):
    assert BiEncoderRanker(encoder).rank(TEXTS[0], TEXTS[1:3]).best == 0


def test_any_text_is_encoded(encoder):
    strange = ["\ud800", "[SEP] [CLS]", "word " * 50_000, "\u4f60\u597d"]
    assert np.isfinite(encoder(strange)).all()
    # a control token as text is plain text
    assert (encoder(["[SEP]"]) != encoder([""])).any()


def test_is_loaded_once():
    assert SentenceEncoder.load() is SentenceEncoder.load()


def test_numbers_that_are_not_finite_are_an_error(encoder):
    class Session:
        def run(self, _names, _feeds):
            return [np.full((1, 384), np.nan)]

    with pytest.raises(RankerError, match="not finite for 'hello'"):
        SentenceEncoder(Session(), encoder._tokenizer)(["hello"])

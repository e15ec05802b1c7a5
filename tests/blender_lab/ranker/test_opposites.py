"""Words that turn a statement into its opposite."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from blender_lab.ranker.corruption import OPPOSITES, contradict, opposite_tokens
from blender_lab.ranker.one_pass import known_tokens


def test_every_word_has_an_opposite_of_its_own():
    assert len(OPPOSITES) > 80
    for word, others in OPPOSITES.items():
        assert word.islower()
        assert others != (word,)
        assert all(other in ("can", "not") or other in OPPOSITES for other in others)
    assert "can" not in OPPOSITES


def test_capitals_and_marks_are_kept():
    vocabulary = {"\u0120is": 0, "\u0120not": 1, "\u0120Is": 2, "is": 3, "\u0120Yes": 4, "\u0120No": 5, "\u0120yes": 6}
    assert opposite_tokens(vocabulary) == {0: (0, 1), 1: (), 2: (2, 1), 4: (5,), 5: (4,)}


def test_a_vocabulary_without_these_words_has_none():
    assert opposite_tokens({"hola": 0, "no": 1}) == {}


def test_real_text_says_the_opposite():
    words = ["yes", "no", "the", "answer", "is", "not", "paris", "7"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="the"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    known = known_tokens(tokenizer)
    assert list(known.numbers) == [7]
    ids = tokenizer.encode("yes the answer is paris").ids
    said = {tokenizer.decode(contradict(ids, np.random.default_rng(seed), known)) for seed in range(40)}
    # "no the answer is not paris" would say it again
    assert said == {"no the answer is paris", "yes the answer is not paris"}

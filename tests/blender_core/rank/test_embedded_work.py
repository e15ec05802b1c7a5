"""The work of one request to the embedded ranker: forward passes, tokens and tokenisations; none may grow."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from blender_core.models.sentence_encoder import SentenceEncoder
from blender_core.rank.embedded import EmbeddedRanker

PROMPT = "Name three benefits of regular exercise."
ANSWERS = ["Better sleep, a better mood and a stronger heart.", "You could go for a walk.", "A banana is a fruit."]


class Counted:
    """The real session; notes the tokens of each pass."""

    def __init__(self, session):
        self.session, self.lengths = session, []

    def run(self, names, feeds):
        assert len(feeds["input_ids"]) == 1
        self.lengths.append(feeds["input_ids"].shape[1])
        return self.session.run(names, feeds)


class CountedTokenizer:
    """The real tokenizer; notes the texts."""

    def __init__(self, tokenizer):
        self.tokenizer, self.texts = tokenizer, []

    def encode(self, text, **options):
        self.texts.append(text)
        return self.tokenizer.encode(text, **options)

    def encode_batch(self, texts, **options):
        self.texts += texts
        return self.tokenizer.encode_batch(texts, **options)


@pytest.fixture
def work():
    """A ranker of the real parts, and what they note."""
    shipped = EmbeddedRanker.load()
    words = CountedTokenizer(shipped._tokenizer)
    cross, sentence = Counted(shipped._session), Counted(SentenceEncoder.load()._session)
    encoder = SentenceEncoder(sentence, words)
    return EmbeddedRanker(cross, words, shipped.settings, sentence_encoder=encoder), words, cross, sentence


def test_each_text_is_tokenised_once_and_passes_each_encoder_once(work):
    ranker, words, cross, sentence = work
    assert ranker.rank(PROMPT, ANSWERS) == EmbeddedRanker.load().rank(PROMPT, ANSWERS)
    assert words.texts == [PROMPT, *ANSWERS]
    sizes = [len(words.tokenizer.encode(text, add_special_tokens=False).ids) for text in words.texts]
    # [CLS] prompt [SEP] answer [SEP], and [CLS] text [SEP]: no padding
    assert cross.lengths == [sizes[0] + size + 3 for size in sizes[1:]]
    assert sentence.lengths == [size + 2 for size in sizes]


def test_copies_and_blanks_cost_nothing(work):
    ranker, words, cross, sentence = work
    ranker.rank(PROMPT, [*ANSWERS, f"{ANSWERS[0]}\n", "", ANSWERS[1]])
    assert (len(words.texts), len(cross.lengths), len(sentence.lengths)) == (4, 3, 4)


def test_a_long_text_costs_one_window(work):
    ranker, _, cross, sentence = work
    ranker.rank(PROMPT, ["word " * 5_000, ANSWERS[0]])
    assert max(cross.lengths) == ranker.settings.max_tokens
    assert max(sentence.lengths) == 256


def test_the_ranker_in_the_package_reads_one_tokenizer():
    assert EmbeddedRanker.load()._tokenizer is SentenceEncoder.load().tokenizer


@pytest.mark.parametrize("package", ["rank/embedded_weights", "models/sentence_encoder_weights"])
def test_no_pass_checks_each_attention_weight_for_nan(package):
    onnx = pytest.importorskip("onnx")
    model = Path(str(files("blender_core"))) / package / "model.int8.onnx"
    assert "IsNaN" not in {node.op_type for node in onnx.load(str(model)).graph.node}

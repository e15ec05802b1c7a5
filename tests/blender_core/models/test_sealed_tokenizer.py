"""No text writes a control token; everything else is tokenised as the file says."""

from __future__ import annotations

import functools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import GOLDENS
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from blender_core.errors import CheckpointError, RankerError
from blender_core.models.tokenizers import SealedTokenizer, read_tokenizer

UNIGRAM = GOLDENS / "pairrm_tokenizer.json"
CONTROLS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
text = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.lists(st.sampled_from([*CONTROLS, "\uff3bSEP\uff3d", "a", " "]), max_size=6).map("".join),
)


@pytest.fixture(scope="module")
def unigram():
    return SealedTokenizer.from_file(UNIGRAM)


def word_piece(folder):
    """A WordPiece tokenizer, whose vocabulary is a mapping and whose unknown token is found by name."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(["a small text with few words"], trainers.WordPieceTrainer(special_tokens=CONTROLS))
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


@given(text)
def test_no_text_makes_a_control_id(unigram, words):
    controls = {unigram.control_id(name) for name in CONTROLS if name != "[UNK]"}
    assert not controls & set(unigram.encode(words))


@given(text)
def test_a_spelling_makes_exactly_one(unigram, words):
    ids = unigram.encode(words + unigram.spelling("[SEP]") + words)
    assert ids.count(unigram.control_id("[SEP]")) == 1


@given(st.text(st.characters(exclude_characters="[\uff3b", exclude_categories=["Cs"]), max_size=30))
def test_other_text_is_encoded_as_the_file_says(unigram, words):
    plain = Tokenizer.from_file(str(UNIGRAM))
    assert unigram.encode(words) == plain.encode(words, add_special_tokens=False).ids


def test_a_vocabulary_that_is_a_mapping(tmp_path):
    plain = word_piece(tmp_path)
    sealed = SealedTokenizer.from_file(tmp_path / "tokenizer.json")
    assert sealed.encode("few words?") == plain.encode("few words?", add_special_tokens=False).ids
    assert sealed.control_id("[SEP]") == 2
    assert sealed.encode("[SEP]") == [sealed.control_id("[UNK]")]
    assert sealed.largest_id == plain.get_vocab_size() - 1


def test_decoding_leaves_control_tokens_out(unigram):
    ids = unigram.encode("the work" + unigram.spelling("[SEP]"))
    assert unigram.decode([1, *ids]) == "the work"


def test_two_tokenizers_have_different_secrets(unigram):
    assert unigram.spelling("[SEP]") != SealedTokenizer.from_file(UNIGRAM).spelling("[SEP]")


def test_stripping_flags_are_kept(tmp_path):
    tokenizer = word_piece(tmp_path)
    tokenizer.add_special_tokens([AddedToken("<x>", lstrip=True, rstrip=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    sealed = SealedTokenizer.from_file(tmp_path / "tokenizer.json")
    with_spaces = sealed.encode(f"few {sealed.spelling('<x>')} words")
    assert with_spaces == tokenizer.encode("few <x> words", add_special_tokens=False).ids


def test_extra_control_tokens_get_the_next_ids(tmp_path):
    word_piece(tmp_path)
    sealed = SealedTokenizer.from_file(tmp_path / "tokenizer.json", extra=["<one>", "<two>"])
    assert sealed.control_id("<two>") == sealed.control_id("<one>") + 1 == sealed.largest_id


def test_truncation_padding_and_template_in_the_file_are_ignored(unigram):
    definition = json.loads(UNIGRAM.read_text())
    definition["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    definition["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    assert SealedTokenizer(definition).encode("the work of it") == unigram.encode("the work of it")


def test_an_unknown_control_token(unigram):
    with pytest.raises(CheckpointError, match="no token <s>"):
        unigram.control_id("<s>")


@pytest.mark.parametrize(
    ("content", "match"),
    [("{", "cannot be read as JSON"), ("[]", "holds no tokenizer"), ('{"model": {}}', "is not a tokenizer")],
)
def test_files_that_are_no_tokenizer(content, match, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=match):
        SealedTokenizer.from_file(tmp_path / "tokenizer.json")


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


HOSTILE = {
    "replacements that multiply": {
        "normalizer": {"type": "Sequence", "normalizers": [replace({"String": "e"}, "e" * 40)] * 2}
    },
    "a pattern that matches everywhere": {"normalizer": replace({"Regex": ".?"}, "long" * 40)},
    "a decoder that multiplies": {"decoder": {"type": "Sequence", "decoders": [replace({"String": " "}, " " * 500)]}},
    "a normaliser that panics": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "a token without its text": {"added_tokens": [{"id": 0, "special": True}]},
    "tokens that are no objects": {"added_tokens": [None]},
    "a vocabulary of numbers": {"model": {"type": "Unigram", "vocab": [3]}},
    "deep nesting": {"normalizer": functools.reduce(lambda inner, _: [inner], range(600), [])},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("escaped", [False, True])
def test_hostile_tokenizers_are_refused_and_abort_nothing(change, escaped, tmp_path):
    definition = {**json.loads(word_piece(tmp_path).to_str()), **change}
    text = json.dumps(definition)
    if escaped:
        text = text.replace("Replace", "\\u0052eplace")
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))):
        SealedTokenizer.from_file(tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        read_tokenizer(text, "tokenizer.json")


def test_a_tokenizer_that_panics_on_a_text_is_a_rankers_error(tmp_path):
    slow = replace({"Regex": "(b+)+$c"}, "")
    tokenizer = SealedTokenizer({**json.loads(word_piece(tmp_path).to_str()), "normalizer": slow})
    assert tokenizer.encode("a text")
    with pytest.raises(RankerError, match="41 characters"):
        tokenizer.encode("b" * 40 + "d")

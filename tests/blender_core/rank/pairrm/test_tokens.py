"""The id layout is the reference's, and no text can write a marker."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import CheckpointError
from blender_core.rank.pairrm.tokens import MARKERS, PairTokenizer

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
dangerous = st.lists(
    st.sampled_from(
        ["[SEP]", "[CLS]", "[PAD]", "[UNK]", "[MASK]", *MARKERS, "\uff3bSEP\uff3d", "the", " ", "\u200b", "<", "|"]
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="session")
def tokenizer(pairrm_folder):
    return PairTokenizer.from_file(pairrm_folder / "tokenizer.json")


@pytest.fixture(scope="session")
def plain(pairrm_folder):
    """The published file, read without our precautions."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(pairrm_folder / "tokenizer.json"))


def test_layout(tokenizer, plain):
    source, left, right = tokenizer.source("the work", 99), tokenizer.candidate("a", 99), tokenizer.candidate("any", 99)
    pair = tokenizer.pair(source, left, right)
    expected = [plain.encode(t).ids for t in ("<|source|>the work", "<|candidate1|>a", "<|candidate2|>any")]
    assert list(pair.ids) == [i for ids in expected for i in ids]
    assert [pair.ids[p] for p in pair.positions] == [tokenizer.marker_ids[m] for m in MARKERS[:3]]
    assert [pair.ids[p - 1] for p in pair.positions] == [1, 1, 1]


@given(text)
def test_ids_are_those_of_the_published_tokenizer(tokenizer, plain, words):
    if not any(marker in words for marker in ("[", "<|")):
        assert list(tokenizer.candidate(words, 10**6).ids) == plain.encode("<|candidate|>" + words).ids


@given(st.one_of(text, dangerous), st.one_of(text, dangerous))
def test_no_text_makes_a_special_id(tokenizer, prompt, answer):
    pair = tokenizer.pair(
        tokenizer.source(prompt, 50), tokenizer.candidate(answer, 50), tokenizer.candidate(prompt + answer, 50)
    )
    special = [i for i in pair.ids if i in (0, 1, 2, 400, *tokenizer.marker_ids.values())]
    first, second, third = MARKERS[:3]
    assert special == [
        1,
        tokenizer.marker_ids[first],
        2,
        1,
        tokenizer.marker_ids[second],
        2,
        1,
        tokenizer.marker_ids[third],
        2,
    ]


def test_a_separator_in_a_text_is_one_space(tokenizer):
    assert tokenizer.candidate("a[SEP]the", 50) == tokenizer.candidate("a the", 50)


@given(text, st.integers(4, 30))
def test_the_right_end_is_cut(tokenizer, words, limit):
    whole, cut = tokenizer.source(words, 10**6), tokenizer.source(words, limit)
    assert cut.ids[:-1] == whole.ids[: len(cut.ids) - 1]
    assert len(cut.ids) == min(limit, len(whole.ids))
    assert len(whole.ids) - len(cut.ids) == cut.cut


def test_golden_truncation(tokenizer, goldens):
    for golden in goldens.values():
        request, kept = golden["request"], golden["blender"]["kept"]
        limit, room = request.get("source_max_length", 1224), request.get("candidate_max_length", 412)
        source = tokenizer.source(request["prompt"], limit)
        assert len(source.ids) == kept["source"]
        room += (limit - len(source.ids)) // 2
        lengths = [len(tokenizer.candidate(candidate, room).ids) for candidate in request["candidates"]]
        assert lengths == kept["candidates"]


def test_text_on_which_transformers_5_differs(pairrm_folder, tokenizer, plain):
    """The file's own normaliser folds these; the class that transformers 5 builds does not know them."""
    from transformers import AutoTokenizer, __version__

    for one, other in [("\u2026", "..."), ("a\u00a0b", "a b"), ("\u2122", "TM"), ("\uff21", "A"), ("\ufb01", "fi")]:
        assert tokenizer.candidate(one, 99) == tokenizer.candidate(other, 99)
    if int(__version__.split(".")[0]) >= 5:
        folder_config = {"tokenizer_class": "DebertaV2Tokenizer"}
        (pairrm_folder / "tokenizer_config.json").write_text(json.dumps(folder_config))
        theirs = AutoTokenizer.from_pretrained(pairrm_folder)
        (pairrm_folder / "tokenizer_config.json").unlink()
        assert theirs.encode("the\uff21") != plain.encode("the\uff21").ids


def test_missing_markers_get_the_next_ids(pairrm_folder, tmp_path):
    definition = json.loads((pairrm_folder / "tokenizer.json").read_text())
    definition["added_tokens"] = [t for t in definition["added_tokens"] if t["content"] not in MARKERS]
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    found = PairTokenizer.from_file(tmp_path / "tokenizer.json")
    assert list(found.marker_ids.values()) == [401, 402, 403, 404]
    assert found.largest_id == 404


def test_a_tokenizer_of_another_model(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"no token \[CLS\]"):
        PairTokenizer.from_file(tmp_path / "tokenizer.json")

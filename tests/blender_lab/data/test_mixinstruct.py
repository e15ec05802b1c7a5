"""MixInstruct's schema: what is written is read again, and what is wrong is told with its line."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab.data.mixinstruct import Gathered, MixCandidate, MixRecord, Verdict, read_mix, write_mix

# a line as the published files have it
PUBLISHED = {
    "id": "unified_chip2/69962",
    "instruction": "",
    "input": "I've always wanted to learn Spanish. How should I start?",
    "output": "Start with the verbs.",
    "candidates": [
        {
            "decoding_method": "top_p_sampling",
            "model": name,
            "text": text,
            "scores": {"logprobs": -0.02, "rouge1": 0.1, "bartscore": -2.5},
        }
        for name, text in [("oasst-sft-4-pythia-12b-epoch-3.5", "Listen."), ("koala-7B-HF", "Read.")]
    ],
    "cmp_results": '{"oasst-sft-4-pythia-12b-epoch-3.5,koala-7B-HF": "Same bad"}',
}

names = st.text(st.characters(exclude_characters=",", exclude_categories=("Cs",)), min_size=1).filter(
    lambda name: name == name.strip()
)
texts = st.text(st.characters(exclude_categories=("Cs",)))
numbers = st.floats(allow_nan=False, allow_infinity=False)
candidates = st.builds(
    MixCandidate,
    model=names,
    text=texts,
    scores=st.dictionaries(names, numbers, max_size=3),
    decoding_method=texts,
    gathered=st.none()
    | st.builds(Gathered, latency_s=numbers, error=texts, output_tokens=st.none() | st.integers(0, 10**6)),
)
records = st.builds(
    MixRecord,
    id=names,
    instruction=texts,
    input=texts,
    output=texts,
    candidates=st.lists(candidates, max_size=3).map(tuple),
    cmp_results=st.none() | st.dictionaries(st.tuples(names, names), st.sampled_from(Verdict), max_size=3),
    task=texts,
    check=st.none() | st.dictionaries(names, texts, max_size=2),
    extra=st.just({"split": "test"}),
)


def test_reads_a_published_line_and_writes_it_back():
    record = MixRecord.from_dict(PUBLISHED)
    assert record.prompt == PUBLISHED["input"]
    assert record.models == ("oasst-sft-4-pythia-12b-epoch-3.5", "koala-7B-HF")
    assert record.scores("bartscore") == (-2.5, -2.5)
    assert record.verdict("koala-7B-HF", "oasst-sft-4-pythia-12b-epoch-3.5") is Verdict.SAME_BAD
    assert record.to_dict() == PUBLISHED


@given(records)
def test_a_record_survives_its_line(record):
    assert MixRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize("name", ["mix.jsonl", "mix.jsonl.gz"])
def test_files_plain_and_compressed(tmp_path, name):
    written = [MixRecord("1", "Grüße\u2028", output="x"), MixRecord("2", "b", "c", extra={"split": "test"})]
    assert write_mix(tmp_path / name, iter(written)) == 2
    assert list(read_mix(tmp_path / name)) == written
    before = (tmp_path / name).read_bytes()
    write_mix(tmp_path / name, written)
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_both_orders_keep_their_own_verdicts():
    judged = {("a", "b"): Verdict.A_IS_BETTER, ("b", "a"): Verdict.A_IS_BETTER}
    record = MixRecord("1", "x", cmp_results=judged)
    assert record.verdict("a", "b") is Verdict.A_IS_BETTER
    assert record.verdict("b", "a") is Verdict.A_IS_BETTER
    assert record.verdict("a", "c") is None


@pytest.mark.parametrize("value", [None, "null", "", "{}"])
def test_no_verdicts_in_every_spelling(value):
    record = MixRecord.from_dict({"id": "1", "instruction": "x", "cmp_results": value})
    assert not record.cmp_results


def test_a_record_without_id_gets_its_line_number(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"instruction": "a"}\n\n{"instruction": "b", "id": 7}\n')
    assert [record.id for record in read_mix(tmp_path / "p.jsonl")] == ["1", "7"]


def test_scores_that_are_no_numbers_are_missing():
    data = {"model": "m", "text": "t", "scores": {"bleu": None, "bertscore": float("nan"), "rouge1": 1}}
    assert MixCandidate.from_dict(data).scores == {"rouge1": 1.0}


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"input": "no instruction"}',
        '{"instruction": null}',
        '{"instruction": 5}',
        '{"instruction": "half a smile: \\ud83d"}',
        '{"instruction": "x", "check": {"kind": "equals", "any": ["\\udc00"]}}',
        '{"instruction": "x", "candidates": [{"model": "m"}]}',
        '{"instruction": "x", "candidates": 3}',
        '{"instruction": "x", "cmp_results": "{\\"a,b\\": \\"A wins\\"}"}',
        '{"instruction": "x", "cmp_results": {"ab": "Same good"}}',
    ],
)
def test_a_bad_line_is_named(tmp_path, line):
    (tmp_path / "p.jsonl").write_text('{"instruction": "fine"}\n' + line + "\n")
    with pytest.raises(ConfigurationError, match=r"p\.jsonl, line 2"):
        list(read_mix(tmp_path / "p.jsonl"))


def test_missing_and_cut_files_are_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot read"):
        list(read_mix(tmp_path / "none.jsonl"))
    whole = gzip.compress(b'{"instruction": "x"}\n' * 50)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(ConfigurationError, match="cannot read"):
        list(read_mix(tmp_path / "cut.jsonl.gz"))


def test_damaged_and_marked_files(tmp_path):
    whole = bytearray(gzip.compress(b'{"instruction": "x"}\n' * 50))
    whole[12:20] = b"\xff" * 8
    (tmp_path / "damaged.jsonl.gz").write_bytes(whole)
    with pytest.raises(ConfigurationError, match=r"cannot read .*damaged\.jsonl\.gz"):
        list(read_mix(tmp_path / "damaged.jsonl.gz"))
    (tmp_path / "marked.jsonl").write_text('{"instruction": "x"}\n', encoding="utf-8-sig")
    (tmp_path / "marked.jsonl.gz").write_bytes(gzip.compress((tmp_path / "marked.jsonl").read_bytes()))
    for name in ("marked.jsonl", "marked.jsonl.gz"):
        assert [record.instruction for record in read_mix(tmp_path / name)] == ["x"]


def test_half_a_character_in_an_answer_is_replaced():
    data = {"instruction": "x", "candidates": [{"model": "m", "text": "half a smile: \ud83d"}]}
    assert MixRecord.from_dict(data).texts == ("half a smile: ?",)


def test_a_name_with_a_comma_cannot_be_written():
    with pytest.raises(ConfigurationError, match="comma"):
        MixRecord("1", "x", cmp_results={("a,b", "c"): Verdict.SAME_GOOD}).to_dict()

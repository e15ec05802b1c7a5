"""What a fuser is shown: records, splits, examples."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_core.rank.registry import resolve_ranker
from blender_lab import FuserTrainingConfig
from blender_lab.fuser.examples import (
    FusionExamples,
    FusionRecord,
    cut_repetition,
    rank_records,
    read_fusion_records,
    top_candidates,
)
from blender_lab.fuser.run import fusion_splits

RECORD = FusionRecord("1", "Why?", ("b", "a", " a", "c"), ("", "", "", ""), "because")


def records(count):
    return [
        FusionRecord(str(n), f"q{n}", tuple(f"{n}{letter}" for letter in "abcd"), ("",) * 4, f"r{n}")
        for n in range(count)
    ]


def test_both_schemas_say_the_same(data):
    mix = list(read_fusion_records(data / "mix.jsonl"))
    referenced = list(read_fusion_records(data / "referenced.jsonl.gz"))
    assert referenced == mix[:4]
    # the blank candidate is gone
    assert mix[0].models == ("a", "b", "c")
    assert mix[0].reference.startswith("the ")


def test_a_file_without_references_is_refused(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"id": "1", "instruction": "Why?", "candidates": [{"model": "a", "text": "So."}]}\n')
    with pytest.raises(ConfigurationError, match="reference"):
        list(read_fusion_records(path))


def test_splits_hold_every_prompt_once(data, make_config):
    splits = fusion_splits(make_config("m"), data)
    found = [record.id for part in splits.values() for record in part]
    assert sorted(found) == sorted(f"toy-{n}" for n in range(40))
    assert all(splits.values())
    more = fusion_splits(make_config("m", development_share=0.3), data)
    assert more["test"] == splits["test"]
    assert {r.id for r in splits["development"]} <= {r.id for r in more["development"]}


def test_equal_candidates_are_shown_once():
    assert top_candidates(RECORD, (1, 2, 0, 3), 3) == ("a", "b", "c")
    assert top_candidates(RECORD, (1, 2, 0, 3), 1) == ("a",)


def test_shuffled_the_same_way_each_time():
    many = records(30)
    orders = [(3, 2, 1, 0)] * 30
    first, second = (FusionExamples(many, orders, top_k=3, seed=seed) for seed in (1, 2))
    shown = [first[n].candidates for n in range(30)]
    assert shown == [first[n].candidates for n in range(30)]
    assert shown != [second[n].candidates for n in range(30)]
    assert {place.index(place[0][:-1] + "d") for place in shown} == {0, 1, 2}
    plain = FusionExamples(many, orders, top_k=3, shuffle=False)
    assert plain[4].candidates == ("4d", "4c", "4b")
    # the order of the records does not change them
    assert FusionExamples(many[::-1], orders, top_k=3, seed=1)[29].candidates == shown[0]


def test_a_loop_is_cut():
    loop = "one two three four five six seven eight nine ten " * 9
    assert cut_repetition(loop) == ("one two three four five six seven eight nine ten " * 2).strip()
    looping = FusionRecord("1", "q", (loop,), ("",), loop)
    example = FusionExamples([looping], [(0,)])[0]
    assert len(example.candidates[0]) == len(example.target) < len(loop) / 3
    assert FusionExamples([looping], [(0,)], cut_repeats=False)[0].candidates == (loop,)


@given(st.text(alphabet="ab \n", max_size=60), st.integers(1, 3), st.integers(2, 4))
def test_a_cut_text_is_a_beginning(text, ngram, times):
    cut = cut_repetition(text, ngram=ngram, times=times)
    assert text.startswith(cut)
    assert cut_repetition(cut, ngram=ngram, times=times) == cut


def test_known_orders_are_not_ranked_again(tmp_path):
    cache = tmp_path / "orders.jsonl"
    ranker = resolve_ranker("longest")
    first = rank_records(records(3), ranker, cache=cache)
    # a kill in the middle of a line
    cache.write_text(cache.read_text()[:-9])

    class Counting:
        name = ranker.name
        calls = 0

        def rank(self, prompt, candidates):
            self.calls += 1
            return ranker.rank(prompt, candidates)

    counting = Counting()
    assert rank_records(records(4), counting, cache=cache)[:3] == first
    assert counting.calls == 2
    assert rank_records(records(4), counting, cache=cache)[:3] == first
    assert counting.calls == 2


SETTINGS = {"model": "m", "output": "o", "files": ["f"]}


def test_settings_survive_a_file(tmp_path):
    config = FuserTrainingConfig.from_dict({**SETTINGS, "lora": {"rank": 4, "target_modules": ["q_proj"]}})
    path = tmp_path / "run.json"
    path.write_text(json.dumps(config.to_dict()))
    assert FuserTrainingConfig.load(path) == config
    assert config.lora.target_modules == ("q_proj",)


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"top_k": 0},
        {"warmup": 1.0},
        {"development_share": 0.0},
        {"development_share": 0.6, "test_share": 0.4},
        {"save_every": -1},
        {"prompt_format": "verse"},
        {"device": "cuda"},
        {"colour": "red"},
        {"lora": {"depth": 2}},
    ],
)
def test_unusable_settings(change):
    with pytest.raises(ConfigurationError):
        FuserTrainingConfig.from_dict({**SETTINGS, **change})


def test_files_that_are_no_settings(tmp_path):
    (tmp_path / "broken.toml").write_text("model = ")
    for name in ("broken.toml", "none.toml"):
        with pytest.raises(ConfigurationError):
            FuserTrainingConfig.load(tmp_path / name)

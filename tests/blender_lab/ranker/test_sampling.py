"""Groups of candidates, worsened answers, length balance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab.data.preferences import PreferenceRecord
from blender_lab.ranker.corruption import KnownTokens
from blender_lab.ranker.sampling import Group, GroupSampler, PackedSource, length_weights, pack_texts, swap_pairs
from blender_lab.ranker.targets import pair_targets


def encode(texts):
    return [[ord(letter) for letter in text] for text in texts]


def packed(name, records, share=1.0, group=3, refusals=False):
    targets = [pair_targets(record) for record in records]
    return PackedSource(name, share, group, pack_texts(records, encode), targets, refusals=refusals)


def make_records(letter, count=5, scores=(1.0, 0.0, 0.0, 0.0)):
    texts = tuple(letter * (20 + index) for index in range(len(scores)))
    return [PreferenceRecord(str(n), "s", f"{letter}{n}", texts, ("",) * 4, scores, ()) for n in range(count)]


def test_packing_gives_back_every_text(tmp_path):
    records = make_records("a")
    cache = tmp_path / "tokens.npz"
    first = pack_texts(records, encode, cache=cache)

    def fail(texts):
        raise AssertionError("the cache must be used")

    for texts in (first, pack_texts(records, fail, cache=cache)):
        assert texts.prompt(3) == encode(["a3"])[0]
        assert texts.candidate(2, 1) == [ord("a")] * 21
    # other texts do not fit the cache
    changed = pack_texts(make_records("b"), encode, cache=cache)
    assert changed.candidate(0, 0) == [ord("b")] * 20


def test_step_depends_on_seed_and_step_alone():
    sources = [packed("a", make_records("a"))]
    one, two = (GroupSampler(sources, records_per_step=4, corruption=0.5, seed=3) for _ in range(2))
    assert one.step(7) == two.step(7)
    assert one.step(7) != one.step(8)


def test_sources_are_drawn_by_share():
    sources = [packed("a", make_records("a"), 3.0), packed("b", make_records("b", 50), 1.0)]
    groups = GroupSampler(sources, records_per_step=1000).step(0)
    share = sum(group.answers[0][0] == ord("a") for group in groups) / 1000
    assert share == pytest.approx(0.75, abs=0.05)


def test_groups_hold_at_least_one_pair_and_no_strangers():
    groups = GroupSampler([packed("a", make_records("a"), group=2)], records_per_step=50).step(0)
    for group in groups:
        assert len(group.answers) == 2
        assert len(group.pairs) == 1


def test_worsened_answer_is_the_loser():
    sources = [packed("a", make_records("a"), refusals=True), packed("b", make_records("b"))]
    sampler = GroupSampler(
        sources, records_per_step=200, corruption=1.0, refusals=[[1, 2, 3]], known=KnownTokens([ord("1")])
    )
    worsened = [group for group in sampler.step(0) if len(group.answers) > 3]
    assert len(worsened) > 150
    for group in worsened:
        last = len(group.answers) - 1
        pairs = [pair for pair in group.pairs if last in pair[:2]]
        assert pairs
        assert all(j == last and 0.9 < p < 1 for _, j, p, _ in pairs)
    refused = {group.answers[0][0] for group in worsened if group.answers[-1] == [1, 2, 3]}
    assert refused == {ord("a")}


def test_nothing_to_draw_from():
    with pytest.raises(ConfigurationError):
        GroupSampler([packed("a", make_records("a", scores=(1.0, 1.0, 1.0, 1.0)))], records_per_step=1)


def test_length_weights_even_out_the_winners():
    # the longest wins in three of four records
    wins = [make_records("a", 1, (0.0, 0.0, 0.0, 1.0))[0]] * 3 + [make_records("a", 1, (1.0, 0.0, 0.0, 0.0))[0]]
    source = packed("a", wins)
    longer, shorter = length_weights(source.texts, source.targets, 1.0)
    assert longer * 0.75 == pytest.approx(shorter * 0.25)
    assert length_weights(source.texts, source.targets, 0.0) == (1.0, 1.0)


def test_only_the_named_corruptions_are_drawn():
    known = KnownTokens((), {ord("a"): (ord("z"),)})
    sources = [packed("a", make_records("a"), group=2)]
    settings = {"records_per_step": 200, "corruption": 1.0, "known": known}
    own = ord("a"), ord("z")
    kinds = {}
    for name in ("contradict", "drop_end"):
        groups = GroupSampler(sources, corruptions=[name], **settings).step(0)
        worsened = [group.answers[2] for group in groups if len(group.answers) > 2]
        kinds[name] = {token for answer in worsened for token in answer}
    assert kinds == {"contradict": set(own), "drop_end": {own[0]}}


def test_an_off_topic_answer_is_taken_from_the_prompt_most_alike():
    prompts = ["abcdef", "abcdeg", "uvwxyz", "qrstuv"]
    records = [
        PreferenceRecord(
            str(n), "s", prompt, (letter * 20, letter * 21, letter * 22, letter * 23), ("",) * 4, (1, 0, 0, 0), ()
        )
        for n, (prompt, letter) in enumerate(zip(prompts, "1234", strict=True))
    ]
    sources = [packed("a", records)]
    sampler = GroupSampler(sources, records_per_step=400, corruption=1.0, off_topic_draws=40)
    others = {
        (bytes(group.prompt).decode(), chr(group.answers[-1][0]))
        for group in sampler.step(0)
        if group.answers[-1][0] != group.answers[0][0]
    }
    assert {other for prompt, other in others if prompt == "abcdef"} == {"2"}
    assert {other for prompt, other in others if prompt == "abcdeg"} == {"1"}


def test_pairs_of_a_record_are_drawn_at_most_once():
    records = [PreferenceRecord("1", "s", "p", tuple("x" * (n + 1) for n in range(4)), ("",) * 4, (9, 7, 5, 3), ())]
    every = {frozenset(pair) for pair in itertools.combinations(range(1, 5), 2)}
    seen = set()
    for most in (2, 4, 6, 40):
        sampler = GroupSampler([packed("a", records, group=4)], records_per_step=20, pairs_per_record=most)
        for group in sampler.step(0):
            assert len(group.pairs) == min(most, 6)
            # the shorter is the better one here
            assert all(
                (len(group.answers[i]) < len(group.answers[j])) == (p > 0.5) and weight == 1.0
                for i, j, p, weight in group.pairs
            )
            drawn = [frozenset(len(group.answers[index]) for index in pair[:2]) for pair in group.pairs]
            assert len(set(drawn)) == len(drawn)
            seen.update(drawn)
    assert seen == every


@given(st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda wins: 0 < sum(wins) < len(wins)))
def test_length_balance_weighs_longer_and_shorter_winners_alike(longer_wins):
    records = [
        PreferenceRecord("1", "s", "p", ("x", "xx"), ("",) * 2, (0.0, 1.0) if longer else (1.0, 0.0), ())
        for longer in longer_wins
    ]
    source = packed("a", records)
    weight_longer, weight_shorter = length_weights(source.texts, source.targets, 1.0)
    longer = sum(longer_wins)
    assert weight_longer * longer == pytest.approx(weight_shorter * (len(longer_wins) - longer))


@given(st.integers(2, 9), st.integers(0, 99), st.booleans())
def test_swapping_turns_labels_and_logits(count, seed, taught):
    pairs = [(i, j, 1.0 / (1 + i + 2 * j), 0.5) for i, j in itertools.combinations(range(count), 2)]
    logits = tuple(float(n) for n in range(len(pairs))) if taught else ()
    group = Group([1], [[n] for n in range(count)], pairs, logits)
    (turned,) = swap_pairs([group], np.random.default_rng(seed))
    assert (len(turned.pairs), len(turned.teacher)) == (len(pairs), len(logits))
    for number, ((i, j, p, weight), (a, b, q, same)) in enumerate(zip(pairs, turned.pairs, strict=True)):
        assert (a, b, q, same) in ((i, j, p, weight), (j, i, 1.0 - p, weight))
        assert not taught or turned.teacher[number] == (logits[number] if a < b else -logits[number])


def test_half_of_the_pairs_are_swapped():
    group = Group([1], [[1], [2]], [(0, 1, 1.0, 1.0)])
    turned = swap_pairs([group] * 2000, np.random.default_rng(0))
    assert sum(one.pairs[0][0] == 1 for one in turned) / 2000 == pytest.approx(0.5, abs=0.04)

"""Every pair sampling mode gives the pairs that its definition says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.data.preferences import PreferenceRecord
from blender_lab.ranker.sampling import (
    GroupSampler,
    PackedSource,
    draw_pairs,
    length_weights,
    order_by_wins,
    pack_texts,
    swap_pairs,
)
from blender_lab.ranker.targets import pair_targets


@st.composite
def ordered_pairs(draw):
    """All pairs of some candidates, and the order they come from."""
    order = draw(st.permutations(range(draw(st.integers(2, 9)))))
    place = {candidate: position for position, candidate in enumerate(order)}
    pairs = [(i, j, 1.0 if place[i] < place[j] else 0.0) for i in range(len(order)) for j in range(i + 1, len(order))]
    return pairs, list(order)


@given(ordered_pairs(), st.integers(1, 40), st.integers(0, 99))
def test_all_pair_draws_each_at_most_once(made, count, seed):
    pairs, _ = made
    drawn = draw_pairs(pairs, "all_pair", count, np.random.default_rng(seed))
    assert len(drawn) == len(set(drawn)) == min(count, len(pairs))
    assert set(drawn) <= set(pairs)


@given(ordered_pairs(), st.integers(1, 40), st.integers(0, 99))
def test_random_draws_as_many_as_asked(made, count, seed):
    pairs, _ = made
    drawn = draw_pairs(pairs, "random", count, np.random.default_rng(seed))
    assert len(drawn) == count
    assert set(drawn) <= set(pairs)


@given(ordered_pairs(), st.integers(1, 40))
def test_top_bottom_goes_from_the_ends_inwards(made, count):
    pairs, order = made
    drawn = draw_pairs(pairs, "top_bottom", count, np.random.default_rng(0))
    ends = [{order[n], order[-1 - n]} for n in range(len(order) // 2)]
    assert [set(pair[:2]) for pair in drawn] == ends[:count]


@given(ordered_pairs(), st.integers(1, 40))
def test_uniform_steps_evenly_along_the_order(made, count):
    pairs, order = made
    drawn = draw_pairs(pairs, "uniform", count, np.random.default_rng(0))
    assert len(drawn) == min(count, len(order) - 1)
    places = [sorted(order.index(index) for index in pair[:2]) for pair in drawn]
    # a chain from the best to the worst
    assert places[0][0] == 0
    assert places[-1][1] == len(order) - 1
    assert all(one[1] == other[0] for one, other in itertools.pairwise(places))
    gaps = [last - first for first, last in places]
    assert max(gaps) - min(gaps) <= 1


@given(ordered_pairs())
def test_order_is_the_one_the_labels_come_from(made):
    pairs, order = made
    assert order_by_wins(pairs) == order


@pytest.mark.parametrize("mode", ["top_bottom", "uniform"])
def test_a_pair_nobody_judged_is_never_drawn(mode):
    pairs = [(0, 1, 1.0), (2, 3, 0.0)]
    for seed in range(20):
        assert set(draw_pairs(pairs, mode, 3, np.random.default_rng(seed))) <= set(pairs)


def source(records, *, strength=0.0, name="s", share=1.0):
    texts = pack_texts(records, lambda batch: [[ord(letter) for letter in text] for text in batch])
    targets = [pair_targets(record) for record in records]
    return PackedSource(name, share, 4, texts, targets, weights=length_weights(texts, targets, strength))


def record(scores):
    """Candidate n has n + 1 letters."""
    texts = tuple("x" * (n + 1) for n in range(len(scores)))
    return PreferenceRecord("1", "s", "p", texts, ("",) * len(scores), tuple(scores), ())


@pytest.mark.parametrize(("mode", "count"), [("all_pair", 4), ("random", 4), ("top_bottom", 2), ("uniform", 3)])
def test_a_step_holds_the_pairs_of_its_mode(mode, count):
    sampler = GroupSampler([source([record((9.0, 7.0, 5.0, 3.0))])], records_per_step=20, pair_sampling=mode,
                           pairs_per_record=4)  # fmt: skip
    for group in sampler.step(0):
        assert len(group.pairs) == count
        for i, j, p, weight in group.pairs:
            # the shorter is the better one here
            assert (len(group.answers[i]) < len(group.answers[j])) == (p > 0.5)
            assert weight == 1.0


@given(st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda wins: 0 < sum(wins) < len(wins)))
def test_length_balance_weighs_longer_and_shorter_winners_alike(longer_wins):
    records = [record((0.0, 1.0) if longer else (1.0, 0.0)) for longer in longer_wins]
    weight_longer, weight_shorter = source(records, strength=1.0).weights
    longer = sum(longer_wins)
    assert weight_longer * longer == pytest.approx(weight_shorter * (len(longer_wins) - longer))


def test_length_balance_by_drawing():
    # in each record the longest of five beats the rest, the others are equal but for one
    texts = tuple("x" * length for length in range(1, 6))
    judgements = (*((4, n, 1.0) for n in range(4)), (0, 1, 1.0))
    judged = PreferenceRecord("1", "s", "p", texts, ("",) * 5, None, judgements)
    sampler = GroupSampler(
        [source([judged], strength=1.0)],
        records_per_step=4000,
        pair_sampling="random",
        pairs_per_record=1,
        draw_by_length=True,
    )
    pairs = [(group, *pair) for group in sampler.step(0) for pair in group.pairs]
    longer = sum((p > 0.5) == (len(group.answers[i]) > len(group.answers[j])) for group, i, j, p, _ in pairs)
    # as they come it were 80%
    assert longer / len(pairs) == pytest.approx(0.5, abs=0.04)
    assert {weight for *_, weight in pairs} == {1.0}


@given(ordered_pairs(), st.integers(0, 99))
def test_swapping_turns_labels_and_logits(made, seed):
    from blender_lab.ranker.sampling import Group

    pairs, order = made
    logits = tuple(float(n) for n in range(len(pairs)))
    group = Group([1], [[n] for n in order], [(*pair, 1.0) for pair in pairs], logits)
    wanted = {(i, j): (p, logit) for (i, j, p), logit in zip(pairs, logits, strict=True)}
    (both,), (some,), (none,) = (swap_pairs([group], how, np.random.default_rng(seed)) for how in
                                 ("both", "random", "none"))  # fmt: skip
    assert none == group
    assert len(both.pairs) == 2 * len(pairs)
    assert len(some.pairs) == len(pairs)
    for (i, j, p, _), logit in zip([*both.pairs, *some.pairs], [*both.teacher, *some.teacher], strict=True):
        assert (p, logit) == wanted[i, j] if (i, j) in wanted else (1.0 - p, -logit) == wanted[j, i]

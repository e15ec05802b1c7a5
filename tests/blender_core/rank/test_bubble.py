"""The bubble run, alone and as PairRanker's aggregation."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_core.rank.comparisons import bubble_best, bubble_run

margins = st.integers(1, 7).flatmap(
    lambda size: st.tuples(
        st.lists(st.integers(-3, 3), min_size=size * size, max_size=size * size), st.permutations(range(size))
    )
)


@given(margins)
def test_the_best_is_never_below_anybody(drawn):
    values, permutation = drawn
    size = len(permutation)
    seen = {}

    def compare(i, j):
        seen[i, j] = float(values[i * size + j] - values[j * size + i])
        return seen[i, j]

    run = bubble_run(compare, permutation)
    assert len(seen) == size - 1
    assert max(run.strengths) == pytest.approx(run.strengths[run.best])
    assert sorted((run.best, *run.losers)) == list(range(size))
    assert math.fsum(run.strengths) == pytest.approx(0, abs=1e-9)
    for (i, j), margin in seen.items():
        assert run.strengths[i] - run.strengths[j] == pytest.approx(margin)
    assert bubble_best(lambda i, j: seen[i, j], permutation) == run.best


@pytest.mark.parametrize("permutation", [[], [0, 0], [1, 2]])
def test_no_permutation(permutation):
    with pytest.raises(ConfigurationError, match="permutation"):
        bubble_run(lambda i, j: 0.0, permutation)


@pytest.fixture(scope="module")
def bubble(pairrm_folder):
    pytest.importorskip("torch")
    from blender_core import PairRanker

    return PairRanker.from_pretrained(pairrm_folder, device="cpu", aggregation="bubble")


def test_it_runs_two_passes_for_each_comparison(bubble, ranker, monkeypatch, goldens):
    request = goldens["eleven"]["request"]
    ran, score = [], bubble._scorer.logits
    monkeypatch.setattr(bubble._scorer, "logits", lambda pairs: (ran.extend(pairs), score(pairs))[1])
    ranking = bubble.rank(request["prompt"], request["candidates"])
    assert len(ran) == 2 * (11 - 1)
    full = ranker.rank(request["prompt"], request["candidates"])
    seen = [
        (value, full.comparisons[i][j])
        for i, row in enumerate(ranking.comparisons)
        for j, value in enumerate(row)
        if i != j and not math.isnan(value)
    ]
    assert len(seen) == 2 * (11 - 1)
    assert [a for a, _ in seen] == pytest.approx([b for _, b in seen], abs=1e-4)
    assert not any(ranking.comparisons[i][ranking.best] > 0 for i in range(11))
    assert 0.5 <= ranking.confidence <= 1


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    candidates=st.lists(st.sampled_from(["the work", "any", "a licence", " ", "it"]), min_size=1), random=st.randoms()
)
def test_copies_tie_and_the_order_of_candidates_plays_no_part(bubble, candidates, random):
    order = list(range(len(candidates)))
    random.shuffle(order)
    ranking = bubble.rank("Hi", candidates)
    assert bubble.rank("Hi", [candidates[i] for i in order]).scores == tuple(ranking.scores[i] for i in order)
    scores = {}
    for text, score in zip(candidates, ranking.scores, strict=True):
        assert scores.setdefault(text, score) == score


def test_one_order(pairrm_folder):
    from blender_core import PairRanker

    one = PairRanker.from_pretrained(pairrm_folder, device="cpu", aggregation="bubble", both_orders=False)
    ranking = one.rank("Hi", ["the work", "any", "a licence"])
    assert sorted(ranking.order) == [0, 1, 2]
    assert max(ranking.scores) == ranking.scores[ranking.best]

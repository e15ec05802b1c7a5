"""Intervals, paired tests and correlations against scipy, exact enumeration and definitions."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_core.errors import ConfigurationError
from blender_lab.evaluate.statistics import bootstrap_mean, holm, paired_test, rank_correlation

stats = pytest.importorskip("scipy.stats")


def test_an_interval_has_the_width_of_the_normal_one():
    values = [0.0, 1.0] * 200
    estimate = bootstrap_mean(values)
    half = 1.96 * math.sqrt(0.25 / len(values))
    assert estimate.mean == 0.5
    assert estimate.low == pytest.approx(0.5 - half, abs=0.01)
    assert estimate.high == pytest.approx(0.5 + half, abs=0.01)
    assert bootstrap_mean(values) == estimate
    spread = [value + place / 1000 for place, value in enumerate(values)]
    assert bootstrap_mean(spread, seed=1) != bootstrap_mean(spread)


def test_values_that_are_missing_are_left_out():
    assert bootstrap_mean([1.0, math.nan, 1.0]) == bootstrap_mean([1.0, 1.0])
    assert math.isnan(bootstrap_mean([]).mean)
    with pytest.raises(ConfigurationError, match="99"):
        bootstrap_mean([1.0], resamples=99)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=7))
def test_few_prompts_are_tested_exactly(pairs):
    first, second = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    found = paired_test(first, second, against="other")
    if not any(differences):
        assert found.p == 1.0
        return
    flips = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    mean = sum(differences)
    # two-sided: twice the smaller tail
    tails = [sum(flip >= mean - 1e-9 for flip in flips), sum(flip <= mean + 1e-9 for flip in flips)]
    assert found.p == pytest.approx(min(1.0, 2 * min(tails) / len(flips)))
    assert found.difference.mean == pytest.approx(mean / len(pairs))


def test_pairs_must_be_pairs():
    with pytest.raises(ConfigurationError, match="2 and 1"):
        paired_test([1.0, 2.0], [1.0], against="other")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction(values):
    corrected = holm(values)
    # the definition: the k-th smallest of m is multiplied by m - k + 1, and none gets below its predecessor
    order = sorted(range(len(values)), key=lambda index: values[index])
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        assert corrected[index] == highest
    assert all(p <= q for p, q in zip(values, corrected, strict=True))


def test_correlations_are_those_of_scipy():
    mine = [[1, 2, 3], [3, 1, 2], [2, 3, 1], [1, 3, 2]]
    theirs = [[1, 3, 2], [3, 2, 1], [2, 3, 1], [2, 3, 1]]
    found = rank_correlation(mine, theirs)
    columns = list(zip(zip(*mine, strict=True), zip(*theirs, strict=True), strict=True))
    assert found.pearson == pytest.approx(sum(stats.pearsonr(a, b)[0] for a, b in columns) / 3)
    assert found.spearman == pytest.approx(sum(stats.spearmanr(a, b)[0] for a, b in columns) / 3)
    assert found.within == pytest.approx(sum(stats.spearmanr(a, b)[0] for a, b in zip(mine, theirs, strict=True)) / 4)
    assert found.footrule == (2 + 2 + 0 + 2) / 4


def test_chance_has_the_footrule_of_its_definition():
    orders = list(itertools.permutations((1, 2, 3, 4)))
    found = rank_correlation(orders, [(1, 2, 3, 4)] * len(orders))
    assert found.footrule == pytest.approx((4**2 - 1) / 3)
    assert math.isnan(found.pearson)

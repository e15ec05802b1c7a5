"""Answers made worse on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_lab.ranker.corruption import CORRUPTIONS, KnownTokens, contradict

IS, NOT, YES, NO, OTHER = 1, 2, 3, 4, 9
KNOWN = KnownTokens((7, 8, 9), {IS: (IS, NOT), NOT: (), YES: (NO,), NO: (YES,)})


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@given(answer=st.lists(st.integers(0, 50), min_size=12, max_size=200), seed=st.integers(0, 99))
def test_corruptions_keep_to_the_answers_tokens(name, answer, seed):
    before = list(answer)
    worse = CORRUPTIONS[name](answer, np.random.default_rng(seed), KNOWN)
    assert answer == before
    assert worse
    assert set(worse) <= set(answer) | {1, 2, 3, 4, 7, 8, 9}
    assert len(worse) <= 2 * len(answer) + 80


@given(answer=st.lists(st.sampled_from([IS, NOT, YES, NO, OTHER]), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_a_contradiction_turns_words_and_leaves_the_others(answer, seed):
    if answer[-1] == IS:
        answer = [*answer, OTHER]
    turned = contradict(answer, np.random.default_rng(seed), KNOWN)
    if set(answer) == {OTHER}:
        assert turned == answer[: len(turned)]
        return
    assert turned != answer
    assert turned.count(OTHER) == answer.count(OTHER)
    assert turned.count(IS) == answer.count(IS)
    assert turned.count(YES) + turned.count(NO) == answer.count(YES) + answer.count(NO)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([YES, OTHER], {(NO, OTHER)}),
        ([OTHER, IS, OTHER], {(OTHER, IS, NOT, OTHER)}),
        # a denial is taken back, never doubled
        ([OTHER, IS, NOT, OTHER], {(OTHER, IS, OTHER)}),
        # two that stand close together are never both turned
        ([IS, YES], {(IS, NOT, YES), (IS, NO)}),
        ([IS, OTHER, YES], {(IS, NOT, OTHER, YES), (IS, OTHER, NO)}),
        (
            [YES, OTHER, OTHER, OTHER, OTHER, YES],
            {
                (NO, OTHER, OTHER, OTHER, OTHER, YES),
                (YES, OTHER, OTHER, OTHER, OTHER, NO),
                (NO, OTHER, OTHER, OTHER, OTHER, NO),
            },
        ),
    ],
)
def test_what_a_contradiction_says(answer, expected):
    assert {tuple(contradict(answer, np.random.default_rng(seed), KNOWN)) for seed in range(40)} == expected

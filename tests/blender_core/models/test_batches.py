"""Batches under a token budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blender_core.models.batches import token_batches


@given(st.lists(st.integers(1, 300)), st.integers(1, 1000))
def test_every_sequence_once_within_the_budget(lengths, budget):
    batches = list(token_batches(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


@given(st.lists(st.integers(1, 300), min_size=1))
def test_longest_first(lengths):
    order = [index for batch in token_batches(lengths, 600) for index in batch]
    assert [lengths[index] for index in order] == sorted(lengths, reverse=True)

"""The chance baseline."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from blender_core.rank import RandomRanker, Ranker
from blender_core.rank.registry import resolve_ranker

texts = st.lists(st.text(max_size=10), min_size=1, max_size=6)


@given(texts, st.randoms(use_true_random=False), st.integers())
def test_scores_stay_with_their_texts(candidates, random, seed):
    scores = RandomRanker(seed).rank("?", candidates).scores
    order = list(range(len(candidates)))
    random.shuffle(order)
    shuffled = RandomRanker(seed).rank("?", [candidates[index] for index in order]).scores
    assert [scores[index] for index in order] == list(shuffled)


def test_every_candidate_wins_about_equally_often():
    for vary in (lambda number: (RandomRanker(number), "Hi"), lambda number: (RandomRanker(), f"Hi {number}")):
        wins = Counter()
        for number in range(3000):
            ranker, prompt = vary(number)
            wins[ranker.rank(prompt, ["a", "b", "c"]).best] += 1
        # five standard deviations
        assert all(abs(count - 1000) < 130 for count in wins.values())


def test_copies_tie_and_blanks_come_last():
    ranking = RandomRanker().rank("Hi", ["", "Paris", " Paris\n", "Rome"])
    assert (1, 2) in ranking.ties
    assert ranking.order[-1] == 0
    assert ranking.confidence == 0.5


def test_another_process_draws_the_same():
    code = "from blender_core.rank import RandomRanker; print(RandomRanker(3).rank('Hi', ['a', 'b']).scores)"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str(RandomRanker(3).rank("Hi", ["a", "b"]).scores)


def test_it_has_a_name():
    assert isinstance(resolve_ranker("random"), RandomRanker)
    assert isinstance(RandomRanker(), Ranker)
    assert "seed=0" in repr(RandomRanker())

"""Token ids of texts of any length."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_core.models.tokenizers import token_ids
from blender_core.rank.embedded import EmbeddedRanker


@pytest.fixture(scope="module")
def tokenizer():
    return EmbeddedRanker.load()._tokenizer


def plain(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


@settings(max_examples=20)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.sampled_from([1, 2000]))
def test_a_text_has_the_same_ids_whatever_its_length(tokenizer, text, times):
    text = f"{text} [SEP] é\u0301 字a" * times
    assert token_ids(tokenizer, text) == plain(tokenizer, text)


def test_other_threads_run_while_a_long_text_is_encoded(tokenizer):
    turns, done = 0, threading.Event()

    def take_turns():
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0)

    thread = threading.Thread(target=take_turns, daemon=True)
    interval = sys.getswitchinterval()
    # nobody is made to hand the interpreter over
    sys.setswitchinterval(1000.0)
    try:
        thread.start()
        before = turns
        token_ids(tokenizer, "the quick brown fox. " * 10_000)
        after = turns
    finally:
        done.set()
        sys.setswitchinterval(interval)
    thread.join()
    assert after > before

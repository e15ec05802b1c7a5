"""A text that got stuck is recognised, and what repeats for a reason is not."""

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.text.loops import loops

SENTENCE = "The present value is the sum of all payments. "
PARAGRAPH = (
    "To change the interval, open the settings and choose the account. Then tap on the three dots, and choose the time "
    "that suits you best. If nothing happens, restart the telephone and begin again. "
)
LOOPS = {
    "a sentence": "The value of an annuity is asked. " + SENTENCE * 12,
    "cut in the middle": "It depends. " + SENTENCE * 9 + "The present va",
    "a word": "LSD was found in ergot: " + "ergotaminum " * 60,
    "a letter": "aaargh" + "a" * 400,
    "a paragraph": PARAGRAPH * 3 + PARAGRAPH[:40],
    "lines": "What I say:\n" + "- I'm thinking about it.\n- I'm considering it.\n" * 8,
    "numbered lines": "Horses:\n" + "\n".join(f"{n}. American Pharoah belonged to Zayat Stables" for n in range(3, 30)),
    "a loop that ends": SENTENCE * 20 + "I hope that this helps you with your question.",
    "Chinese": "这是一个问题。" + "我感到我的肺脏在收缩时扩大。" * 20,
    "Chinese signs": "好的。" + "试" * 300,
    "Japanese sentences": "はじめに。" + "これは大切な文章です。もう一度お読みください。" * 12,
    "Thai": "คำตอบคือ" + "สวัสดีครับผม" * 30,
    "digits": "1 / 3 = 0." + "3" * 800,
    "behind much text": " ".join(f"Word {n} is new." for n in range(4000)) + SENTENCE * 10,
}
DAYS = ["a partridge in a pear tree", "two turtle doves", "three French hens", "four calling birds", "five gold rings"]
SOUND = {
    "a refrain": "\n\n".join(
        f"How many roads must {who} walk down\nBefore you call it a {what}\n"
        "The answer, my friend, is blowin' in the wind\nThe answer is blowin' in the wind"
        for who, what in [("a man", "man"), ("a dove", "rest"), ("the wind", "storm"), ("a song", "tune")]
    ),
    "a song that adds up": "\n".join(
        f"On day {day + 1} of Christmas my true love sent to me\n" + "\n".join(reversed(DAYS[: day + 1]))
        for day in range(5)
    ),
    "similar lines": "\n".join(f"The capital of country {n} is city {n * 7}, on the river {n * 3}." for n in range(60)),
    "one label for many": "\n".join(f"{n}. Positive" for n in range(1, 80)),
    "a table": "| Name | Role | Level |\n| --- | --- | --- |\n"
    + "".join(f"| Ann {n} | Engineer | Senior |\n" for n in range(30)),
    "a rule": "Title\n" + "=" * 300,
    "code": "```python\n" + "\n".join("    result.append(transform(value))" for _ in range(30)) + "\n```\nThat is all.",
    "tests": "class TestIt:\n"
    + "\n".join(
        f"    def test_{n}(self):\n        self.assertEqual(self.subject.run({n}), {n * n})\n" for n in range(40)
    ),
    "a matrix": "[" + ", ".join("[0, 0, 0, 0, 0, 0, 0, 0]" for _ in range(12)) + "]",
    "a laugh": "That is funny! Ha ha ha ha ha ha ha!",
    "a mantra": "Om. " * 12,
    "two ways to say it": (PARAGRAPH + "\n\nIn short: ") + PARAGRAPH,
    "Chinese list": "".join(f"{n}、中国的城市{chr(0x4E00 + n)}很大。" for n in range(1, 60)),
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_a_loop_is_seen(text):
    assert loops(text)


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_repetition_for_a_reason_is_no_loop(text):
    assert not loops(text)


@given(st.text(alphabet="ab \n.`|", max_size=300))
def test_any_text_gets_a_verdict(text):
    assert loops(text) in (True, False)


@pytest.mark.parametrize("period", [1, 7, 19, 20, 21, 60, 99, 100, 101, 133])
def test_an_end_counts_from_its_least_length_on(period):
    unit = "".join(random.Random(period).choices("abcdefghijklmnopqrstuvwxyz", k=period))
    times, least = (3, 300) if period >= 100 else (4, 200) if period >= 20 else (8, 160)
    long_enough = max(least, times * period)
    end = (unit * long_enough)[-long_enough:]
    assert loops(f"0123456789{end}")
    assert not loops(f"0123456789{end[1:]}")


def test_an_ordinary_text_is_not_searched_sign_by_sign():
    text = " ".join(f"word{number} and more," for number in range(400))
    steps = 0

    def count(_frame, event, _argument):
        nonlocal steps
        steps += event == "line"
        return count

    sys.settrace(count)
    try:
        assert not loops(text)
    finally:
        sys.settrace(None)
    # the search takes about ten lines for each sign of the end
    assert steps < len(text)

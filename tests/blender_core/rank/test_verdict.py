"""Reading a judge's reply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.rank.verdicts import read_grade, read_ranking, read_verdict

A, B, TIE, NOTHING = 1, -1, 0, None


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Better: A", A),
        ("better: b.", B),
        ("**Better:** B", B),
        ("__Better:__ _B_", B),
        ("(_Better_: __A__)", A),
        ("Better: snake_case", NOTHING),
        ("Better: tie", TIE),
        ("Better: A or B", NOTHING),
        ("Better: answer 1 or answer 2", NOTHING),
        ("[[A]] / [[B]]", NOTHING),
        ("Which is better, A or B?\nBetter: B", B),
        ("Better: Answer A", A),
        ("Better: [B]", B),
        ("Better: answer_b", B),
        ("Better: <answer_a>", A),
        ("A", A),
        (" (B) ", B),
        ("'B'", B),
        ("Answer B", B),
        ("2", B),
        ("The first answer", A),
        ("Tie.", TIE),
        ("[[A]]", A),
        ("My final verdict is: [[B]]", B),
        ("[[C]]", TIE),
        ("The better answer is A.", A),
        ("The winner is B", B),
        ("Answer A is better because it is right.", A),
        ("The second answer is clearly better.", B),
        ("Response 1 is worse than response 2.", A * -1),
        ("Both answers are equally good.", TIE),
        ("It's a tie", TIE),
        ("Answer A wins.", A),
        ("A names the capital, B does not.\nBetter: A", A),
        ("Better: A\nWait, no.\nBetter: B", B),
        ("<think>Better: A, or rather not</think>Better: B", B),
        ("<think>A is better, but is it", NOTHING),
        ("B\n\nBecause it names the capital.", B),
        ("Because it names the capital:\n\nA", A),
        ("", NOTHING),
        ("I cannot judge this.", NOTHING),
        ("A or B?", NOTHING),
        ("Answer A is better. Answer B is better.", NOTHING),
        ("Answer A is not better.", NOTHING),
        ("A better answer would name the capital.", NOTHING),
        ("The answer is a better one.", NOTHING),
        ("Better: 42", NOTHING),
    ],
)
def test_reading(reply, expected):
    assert read_verdict(reply) == expected


@given(st.text(alphabet="ABab12 .:[]\nbetrisn", max_size=60))
def test_any_reply_can_be_read(reply):
    assert read_verdict(reply) in (1, 0, -1, None)


# in these a search that tries every length of a run would take minutes
@pytest.mark.parametrize(
    "run",
    [
        "better" + " " * 200_000 + "answer" + " " * 200_000,
        "Better: " + "[" * 200_000,
        "the answer" + "_" * 200_000 + "?",
        "both" + " " * 200_000,
        "neither" + "\n" * 200_000,
        "<think>" * 50_000,
        "a" + "_" * 200_000 + "b",
    ],
    ids=lambda run: run[:10],
)
def test_long_runs_change_no_verdict(run):
    assert read_verdict(f"Better: B\nor {run} or so") == B


@pytest.mark.parametrize(
    ("reply", "groups"),
    [
        ('{"reason": "r", "ranking": ["C", "A", "B"]}', ["C", "A", "B"]),
        ('Sure!\n```json\n{"Ranking": ["c", ["a", "b"]]}\n```', ["C", "AB"]),
        ('{"ranking": "B > A = C"}', ["B", "AC"]),
        ('{"ranking": ["Answer B", "[A]", "candidate_C"]}', ["B", "A", "C"]),
        ('{"ranking": ["B"]}', ["B", "AC"]),
        ('<think>{"ranking": ["A", "B", "C"]}</think>{"ranking": ["C", "B", "A"]}', ["C", "B", "A"]),
        ("I looked at all.\n**Ranking: C > B > A**", ["C", "B", "A"]),
        ("[[B]], [[A]], [[C]]", ["B", "A", "C"]),
        ('{"ranking": ["A", "A", "B"]}', None),
        ('{"ranking": ["A", "D"]}', None),
        ('{"ranking": [["A", 2]]}', None),
        ('{"ranking": []}', None),
        ('{"ranking": ', None),
        # a judge that quotes an answer and does not escape it
        ('{"reason": "C says {"ranking": ["C"]}", "ranking": ["A", "B", "C"]}', None),
        ('{"reason": "C says {\\"ranking\\": [\\"C\\"]}", "ranking": ["A", "B", "C"]}', ["A", "B", "C"]),
        ("A is right and B is wrong.", None),
        ("A", None),
        ("", None),
    ],
)
def test_a_ranking_is_read(reply, groups):
    read = read_ranking(reply, "ABC")
    assert (None if read is None else ["".join(group) for group in read.groups]) == groups


def test_the_end_of_a_word_is_no_label():
    labels = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD"]
    assert read_ranking('{"ranking": ["BCAD"]}', labels) is None
    assert read_ranking('{"ranking": ["B", "AD"]}', labels).groups[:2] == (("B",), ("AD",))


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ('{"reason": "fine", "grade": 7}', 7),
        ('{"grade": "7"}', 7),
        ('{"grade": " 7 "}', 7),
        ('{"grade": "seven"}', None),
        ("Grade: **8**", 8),
        ("Score is 3, although 9 of 10 would disagree", 3),
        ("6/9", 6),
        ("5", 5),
        ('{"reason": "it says {"grade": 9}", "grade": 1}', None),
        ('{"reason": "it says {\\"grade\\": 9}", "grade": 1}', 1),
        ('{"grade": 10}', None),
        ('{"grade": true}', None),
        ('{"grade": null}', None),
        ("Grade: 12", None),
        ("Grade: -5", None),
        ("\u22125", None),
        ("Grade: 5-6", None),
        ("Grade: 5 or 6", None),
        ("Grade: 7,5", None),
        ("Grade - 7", 7),
        ("Score: 7/9 - good", 7),
        ("It has 3 errors", None),
    ],
)
def test_a_grade_is_read(reply, grade):
    read = read_grade(reply, 1, 9)
    assert (None if read is None else read[0]) == grade


@pytest.mark.parametrize("read", [lambda text: read_ranking(text, "ABC"), lambda text: read_grade(text, 1, 9)])
@pytest.mark.parametrize("run", ["{" * 50_000, "[" * 50_000, "A > " * 30_000, " " * 100_000, '{"ranking": ' * 5_000])
def test_long_runs_cost_little_and_hold_nothing(read, run):
    assert read(run + "?") is None

"""Groundedness without a model: which words are claims, and which of them are facts."""

from __future__ import annotations

import math

import pytest

from blender_core.rag import (
    EmbeddingGroundedness,
    EvidenceGroundedness,
    GroundedCandidate,
    LexicalGroundedness,
    NLIGroundedness,
    Source,
    is_abstention,
)
from blender_core.rag.groundedness import content_words

SOURCES = (Source("The mill ships seven crates of PaperCo rolls."),)


def share(answer, **options):
    return LexicalGroundedness(**options).score("?", [GroundedCandidate(answer, SOURCES)])[0]


@pytest.mark.parametrize("word", ["nine", "Nine", "NINE", "9"])
def test_a_number_is_a_fact_however_it_is_written(word):
    # a false number against one true word
    assert share(f"{word} crates") == pytest.approx(1 / 4)
    assert share(f"{word} crates", fact_weight=9) == pytest.approx(1 / 10)


@pytest.mark.parametrize("word", ["seven", "Seven", "7"])
def test_numbers_in_words_and_digits_are_the_same_claim(word):
    assert share(f"{word} barrels") == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Barrels crates", 1 / 2),  # a capital at the start alone makes no name
        ("PaperCo barrels", 3 / 4),
        ("OtherCo crates", 1 / 4),
        ("max_rolls crates", 2 / 6),  # a name and its two parts, of which one is known
    ],
)
def test_names_weigh_as_facts_and_other_words_once(answer, expected):
    assert share(answer) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("word", "stem"),
    [("gas", "gas"), ("bees", "bee"), ("tied", "tied"), ("seas", "sea"), ("ports", "port"), ("king", "king")],
)
def test_a_stem_keeps_at_least_three_letters(word, stem):
    assert content_words(word) == [stem]


def test_a_share_by_entailment_is_the_mean_of_its_sentences_in_six_digits():
    chances = {"The mill is old.": 1 / 3, "It ships crates.": 0.5}
    measure = NLIGroundedness(lambda pairs: [chances[said] for _, said in pairs])
    texts = ["The mill is old.", "The mill is old. It ships crates.", ""]
    assert measure.score("?", [GroundedCandidate(text, SOURCES) for text in texts]) == [0.333333, 0.416667, 0.0]


@pytest.mark.parametrize("sources", [(), (Source(" "),), (Source("..."),)])
def test_without_a_sentence_of_a_source_nothing_is_supported(sources):
    claim = "The mill ships seven crates."
    candidates = [GroundedCandidate(claim, sources), GroundedCandidate(claim, SOURCES)]
    entailed = NLIGroundedness(lambda pairs: [float("mill" in premise) for premise, _ in pairs])
    near = EmbeddingGroundedness(lambda texts: [[1.0, len(text)] for text in texts])
    for measure in (EvidenceGroundedness(), LexicalGroundedness(), entailed, near):
        without, supported = measure.score("Who ships crates?", candidates)
        assert without == 0.0 < supported


@pytest.mark.parametrize(
    "measure",
    [EvidenceGroundedness(), LexicalGroundedness(), NLIGroundedness(lambda pairs: []), EmbeddingGroundedness(len)],
    ids=lambda measure: type(measure).__name__,
)
def test_without_any_sentence_each_candidate_has_no_support(measure):
    assert measure.score("?", [GroundedCandidate("", ()), GroundedCandidate("", ())]) == [0.0, 0.0]


def test_an_answer_in_the_words_of_the_question_is_measured_by_them():
    question = "Does the mill ship crates?"
    answers = ["The mill does ship crates.", "The mill does ship crates, nine barrels."]
    repeated, added = LexicalGroundedness().score(question, [GroundedCandidate(text, SOURCES) for text in answers])
    assert repeated == 1.0
    # the new words alone are claims, and none is known
    assert added == 0.0


@pytest.mark.parametrize("question", ["?", "Does the mill ship?"])
def test_a_claim_that_no_source_has_weighs_more_than_the_rarest_that_one_has(question):
    candidate = GroundedCandidate("Crates, barrels.", (Source("The mill ships crates. The miller ships rolls."),))
    # of two sentences one has the crates, and none the barrels
    known, unknown = math.log1p(2 / 1), math.log1p(2 * 2)
    (support,) = EvidenceGroundedness().score(question, [candidate])
    assert support == pytest.approx(known / (known + unknown), abs=1e-6)


@pytest.mark.parametrize("before", ["", " ", "\n" * 300])
@pytest.mark.parametrize("after", ["", " " + "Ask the miller. " * 40])
def test_an_abstention_is_told_by_the_first_words_of_an_answer(before, after):
    assert is_abstention(f"{before}The context does not mention a port.{after}")
    assert not is_abstention(f"{before}Port 8080.{after}{' It is so.' * 40} The context does not mention a port.")

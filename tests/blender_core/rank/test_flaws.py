"""Answers that are cut off, in another language or stuck rank last, under every ranker."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core import Answer, Blender, MemberPrior, Prompt, Ranking, ToolCall
from blender_core.rag import GroundedBlender, GroundedCandidate, GroundedRanker, Source
from blender_core.rank import CombinedRanker, LLMJudge
from blender_core.rank.flaws import move_behind
from blender_core.testing import FakeFuser, FakeMember, FakeRanker

ASKED = "Why is the sky blue, and not green?"
SOUND = "The air scatters the blue part of the light."
LOOPING = "The sky is blue because the air is blue. " * 30
GERMAN = (
    "Der Himmel ist blau, weil die Luft den blauen Teil des Lichts viel stärker streut als den roten, und das ist so."
)
CUT = Answer(
    "The sky is blue because the air scatters the short waves of the light far more than", finish_reason="length"
)
SHORT = "It is the air."
NEVER = FakeFuser(error=AssertionError("asked to fuse"))


def blend(*answers, ranker=None, fuser=None, **settings):
    members = [FakeMember(f"m{place}", answer) for place, answer in enumerate(answers)]
    return Blender(members, ranker=ranker or FakeRanker(), fuser=fuser, **settings).blend(ASKED)


@pytest.mark.parametrize("ranker", [FakeRanker(), "longest", "consensus", FakeRanker(error=ValueError("down"))])
@pytest.mark.parametrize(
    ("flawed", "flaw"), [(LOOPING, "repeats itself"), (GERMAN, "in German, unlike the question"), (CUT, "cut off")]
)
def test_a_flawed_answer_ranks_last_and_says_why(ranker, flawed, flaw):
    result = blend(flawed, SOUND, SHORT, ranker=ranker)
    assert result.candidates[0].rank == 3
    assert [record.flaw for record in result.candidates] == [flaw, None, None]
    assert result.to_dict()["candidates"][0]["flaw"] == flaw
    assert flaw.split()[0] in result._repr_html_()
    assert all(map(math.isfinite, result.ranking.scores))


def test_the_worse_flaw_ranks_further_back():
    assert [record.rank for record in blend(LOOPING, GERMAN, CUT, SHORT).candidates] == [4, 3, 2, 1]


def test_if_all_have_the_flaw_the_ranker_decides():
    other = Answer(f"{CUT.text} red", finish_reason="length")
    plain = FakeRanker().rank(ASKED, [CUT.text, other.text])
    result = blend(CUT, other)
    assert (result.winner, result.ranking) == ("m1", plain)


def test_flaws_are_stronger_than_a_member_prior():
    prior = MemberPrior()
    for _ in range(20):
        prior.observe(["m0", "m1"], Ranking.from_scores([9.0, -9.0], ranker="fake"))
    result = blend(CUT, SHORT, member_prior=prior)
    assert (result.winner, result.degraded) == ("m1", ())
    assert result.ranking.confidence > 0.9


def test_flawed_answers_are_not_fused_with_sound_ones():
    result = blend(CUT, LOOPING, SOUND, fuser=NEVER, fuse_when="always")
    assert (result.text, result.degraded, result.decision) == (SOUND, (), "picked: the others are flawed")
    fused = blend(CUT, SHORT, SOUND, fuser=FakeFuser("Blue light is scattered."), fuse_when="always")
    assert (fused.text, fused.fused) == ("Blue light is scattered.", ("m2", "m1"))


def test_a_copy_that_ended_by_itself_shows_that_the_text_is_whole():
    whole = Answer(CUT.text, finish_reason="stop")
    assert [record.rank for record in blend(CUT, whole, SHORT).candidates] == [1, 1, 3]


class Paid(FakeRanker):
    """A ranker that pays for each answer, and remembers what it was shown."""

    spends = True

    def __init__(self, **options):
        super().__init__(**options)
        self.shown = []

    def rank(self, prompt, candidates):
        self.shown.extend(text for text in candidates if text)
        return super().rank(prompt, candidates)


@pytest.mark.parametrize("wrap", [lambda paid: paid, lambda paid: CombinedRanker([paid])], ids=["alone", "as a part"])
@pytest.mark.parametrize(
    ("answers", "shown", "ranks"),
    [
        ([SOUND, CUT, SHORT], [SOUND, SHORT], [1, 3, 2]),
        ([LOOPING, GERMAN, CUT, SHORT], [SHORT], [4, 3, 2, 1]),
        ([CUT, LOOPING], [CUT.text], [1, 2]),
        ([SHORT, SOUND], [SHORT, SOUND], [2, 1]),
    ],
)
def test_a_ranker_that_spends_sees_only_what_can_win(wrap, answers, shown, ranks):
    paid, prior = Paid(), MemberPrior()
    result = blend(*answers, ranker=wrap(paid), member_prior=prior)
    assert (paid.shown, [record.rank for record in result.candidates], result.degraded) == (shown, ranks, ())
    assert result.confidence == result.to_dict()["confidence"] < 1
    # nothing is learned of what was not shown
    hidden = [record.model for record in result.candidates if record.text not in shown]
    assert all(prior.strengths()[name].answers == 0 for name in hidden if name in prior.strengths())


@pytest.mark.parametrize("mode", ["auto", "listwise", "pointwise", "pairwise"])
def test_a_judge_is_not_paid_for_one_answer_that_can_win(mode):
    judge = FakeMember("judge", "Better: A")
    result = blend(SHORT, SHORT, CUT, ranker=LLMJudge(judge, mode=mode))
    assert (judge.calls, result.degraded, [record.rank for record in result.candidates]) == (0, (), [1, 1, 3])


def test_who_asks_for_repetition_gets_it():
    members = [FakeMember("all", LOOPING), FakeMember("one", SHORT)]
    asked = "Repeat this 30 times: The sky is blue because the air is blue."
    assert Blender(members, ranker=FakeRanker(), fuser=None).blend(asked).winner == "all"


def test_a_refusal_in_another_language_stays_where_it_ranks():
    members = [
        FakeMember("safe", "I cannot help you with that, because it is against the law and it would hurt people.")
    ]
    members.append(FakeMember("other", "Ja, das geht so."))
    result = Blender(members, ranker=FakeRanker(), fuser=None).blend("Wie kann ich das zu Hause machen?")
    assert (result.winner, result.candidates[0].flaw) == ("safe", None)


def test_with_a_schema_only_a_cut_counts_and_with_tool_calls_nothing():
    listed = '{"a": "' + "The sky is blue. " * 40 + '"}'
    cut = Answer('{"a": "The sky is bl', finish_reason="length")
    asked = Prompt(Prompt.of("Warum ist der Himmel blau und nicht grün?").messages, structured=True)
    members = [FakeMember("cut", cut), FakeMember("long", listed)]
    result = Blender(members, ranker=FakeRanker(lambda text: -len(text)), fuser=None).blend(asked)
    assert (result.winner, [record.flaw for record in result.candidates]) == ("long", ["cut off", None])
    call = Answer(LOOPING, (ToolCall("look", {}),), finish_reason="length")
    assert blend(call, call).candidates[0].flaw is None


def test_with_sources_a_supported_answer_that_was_cut_off_beats_one_without_support():
    port = (Source("The server listens on port 8080.", id="manual"),)

    def engine(name, text, finish_reason="stop"):
        return FakeMember(name, Answer(text, finish_reason=finish_reason, native=GroundedCandidate(text, port)))

    engines = [
        engine("cut", "The server listens on port 8080, and", "length"),
        engine("made up", "Bananas are yellow, and so are most buses and lemons."),
        engine("whole", "Port 8080."),
    ]
    ranker = GroundedRanker("longest", groundedness_weight=0.0)
    result = GroundedBlender(engines, ranker=ranker, fuser=None).blend("Which port is it?")
    assert [record.rank for record in result.candidates] == [2, 3, 1]
    assert (result.unsupported, set(result.groundedness)) == (("made up",), {"cut", "made up", "whole"})


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 3)), min_size=1, max_size=6),
    st.floats(0.01, 100),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_whatever_moves_scores_comparisons_and_confidence_agree(candidates, temperature, random, compared):
    scores, severities = [score for score, _ in candidates], [severity for _, severity in candidates]
    size = len(scores)
    logits = [[random.uniform(-9, 9) if i != j else 0.0 for j in range(size)] for i in range(size)]
    before = Ranking.from_scores(
        scores, ranker="example", temperature=temperature, comparisons=logits if compared else None
    )
    after = move_behind(before, severities)
    in_order = [severities[index] for index in after.order]
    assert in_order == sorted(in_order)
    for severity in set(severities):
        group = [index for index in range(size) if severities[index] == severity]
        assert [i for i in after.order if i in group] == [i for i in before.order if i in group]
    if after is before:
        return
    assert all(map(math.isfinite, after.scores))
    for i in range(size):
        for j in range(size):
            if severities[i] < severities[j]:
                assert after.scores[i] > after.scores[j]
                assert not compared or after.comparisons[i][j] > 0 > after.comparisons[j][i]
    first, second = after.order[:2]
    if severities[first] < severities[second]:
        assert after.confidence > 0.9

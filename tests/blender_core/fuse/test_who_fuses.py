"""The strongest member fuses, fusing is left out where picking wins, and a refusal is never overruled."""

import pytest

from blender_core import Answer, Blender, FusePolicy, Status
from blender_core.errors import RefusedError
from blender_core.events import FusionRejected, Token
from blender_core.fuse import FuseContext
from blender_core.rag import GroundedBlender
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking

ASKED = "Why is the sky blue?"
TEXTS = ("Light.", "The air scatters light.", "The air scatters blue light more than red light.")
FUSED = "The air scatters blue light."
REFUSED = "I'm sorry, but I can't help with that."


class Known:
    """A prior that changes no ranking and knows strengths, in [0, 1]."""

    def __init__(self, **strengths):
        self.strengths = strengths

    def blend(self, members, ranking, texts):
        return ranking

    def observe(self, members, ranking):
        pass

    def strongest_first(self, members):
        return tuple(sorted(members, key=lambda name: -self.strengths[name]))

    def preference(self, first, second):
        return 0.5 + (self.strengths[first] - self.strengths[second]) / 2


class OnlyRanks:
    """A prior of a user that cannot say who is strong."""

    def blend(self, members, ranking, texts):
        return ranking

    def observe(self, members, ranking):
        pass


class Broken(OnlyRanks):
    def strongest_first(self, members):
        return ("somebody", "else")

    def preference(self, first, second):
        raise ZeroDivisionError("oops")


def members(*texts):
    return [FakeMember(name, text, FUSED) for name, text in zip("abc", texts or TEXTS, strict=False)]


def blend(llms, *, face=Blender, fuse_when="always", **settings):
    close = FakeRanker(temperature=1000)
    return face(llms, ranker=close, fuse_when=fuse_when, **settings).blend(ASKED)


def grounded(llms, *, ranker, **settings):
    return GroundedBlender(llms, ranker="longest", **settings)


@pytest.mark.parametrize("face", [Blender, grounded])
@pytest.mark.parametrize(("prior", "fuser"), [(None, "a"), (Known(a=0.1, b=0.9, c=0.5), "b"), (OnlyRanks(), "a")])
def test_the_strongest_fuses_even_if_its_answer_is_not_among_the_best(face, prior, fuser):
    result = blend(members(), face=face, member_prior=prior, top_k=2)
    assert (result.fuser, result.text, result.degraded) == (f"llm:{fuser}", FUSED, ())
    assert result.fused[0] == "c"


def test_who_failed_or_cannot_follow_does_not_fuse():
    failed, base, able = FakeMember("failed", ValueError("down")), FakeMember("base", TEXTS[2]), members()[1]
    base.follows_instructions = False
    assert blend([failed, base, able], max_retries=0).fuser == "llm:b"


def test_if_the_strongest_cannot_fuse_nobody_else_is_asked():
    llms = [FakeMember("a", TEXTS[0], ValueError("busy")), *members()[1:]]
    result = blend(llms)
    assert (result.text, result.winner, result.fused) == (TEXTS[2], "c", ())
    assert "busy" in result.degraded[0]
    assert [llm.calls for llm in llms] == [2, 1, 1]


def test_a_prior_that_breaks_is_said_and_the_order_of_the_members_counts():
    result = blend(members(), member_prior=Broken())
    assert result.fuser == "llm:a"
    assert [reason.split(":")[0] for reason in result.degraded] == ["member prior", "member prior"]


@pytest.mark.parametrize(
    ("strengths", "reason"),
    [
        ({"a": 0.1, "b": 0.2, "c": 0.9}, "far ahead"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, None),
        ({"a": 0.9, "b": 0.8, "c": 0.7}, None),
    ],
)
def test_auto_picks_where_the_winners_member_is_far_ahead(strengths, reason):
    prior = Known(**strengths)
    policy = FusePolicy(fuse_short=True)
    result = blend(members(), member_prior=prior, fuse_when=policy)
    assert bool(result.fused) is (reason is None)
    assert reason is None or reason in result.decision
    assert blend(members(), member_prior=prior).fused


def test_auto_picks_where_the_fuser_is_weaker_than_the_winner():
    llms, prior = members(), Known(a=0.4, b=0.5, c=0.6)
    assert "weaker than the winner" in blend(llms, member_prior=prior, fuse_when="auto", fuser=llms[0]).decision
    assert blend(members(), member_prior=prior, fuse_when="auto").fuser == "llm:c"
    # one that is no member is not known to be weaker
    assert blend(members(), member_prior=prior, fuse_when="auto", fuser=FakeFuser(FUSED)).fused


def test_a_policy_of_the_user_sees_how_far_ahead_the_winner_is():
    seen = []
    blend(members(), member_prior=Known(a=0.3, b=0.5, c=0.7), fuser=None, fuse_when=seen.append)
    assert seen == []
    llms = members()
    blend(llms, member_prior=Known(a=0.3, b=0.5, c=0.7), fuser=llms[0], fuse_when=lambda context: seen.append(context))
    blend(members(), fuse_when=lambda context: seen.append(context))
    known, unknown = seen
    assert (round(known.ahead, 6), round(known.ahead_of_fuser, 6)) == (0.6, 0.7)
    assert (unknown.ahead, unknown.ahead_of_fuser) == (None, None)
    ranking = Ranking.from_scores([1.0, 0.9], ranker="example")
    assert FuseContext(Prompt.of(ASKED), TEXTS[:2], ranking).ahead is None


# -- refusals ----------------------------------------------------------------------------------------------


def test_a_refusal_that_ranks_first_is_returned_as_it_is():
    llms = members(TEXTS[0], REFUSED, "Yes.")
    result = blend(llms)
    assert (result.text, result.winner, result.decision) == (REFUSED, "b", "picked: the best answer is a refusal")
    assert [llm.calls for llm in llms] == [1, 1, 1]


def test_a_refusal_of_a_weaker_member_is_not_merged_into_an_answer():
    fuser = FakeFuser(lambda request: FUSED if REFUSED not in request.candidates else "merged")
    long = "The air scatters blue light more than red light, as it scatters short waves."
    result = blend(members(TEXTS[2], REFUSED, long), fuser=fuser)
    assert (result.text, result.fused) == (FUSED, ("c", "a"))


@pytest.mark.parametrize("refusal", [REFUSED, RefusedError("policy"), Answer("", refusal="policy")])
@pytest.mark.parametrize("fuser", ["llm", FakeFuser(FUSED)])
def test_if_the_strongest_refuses_nothing_is_fused(refusal, fuser):
    llms = [FakeMember("a", refusal, FUSED), *members()[1:]]
    result = blend(llms, fuser=fuser)
    assert (result.text, result.fused, result.decision) == (TEXTS[2], (), "picked: a, the strongest member, refused")
    assert result.candidates[0].status in (Status.OK, Status.REFUSED)
    assert llms[0].calls == 1


# -- refused fusions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("The sky is blue. " * 30, "repeats itself"),
        (REFUSED, "a refusal"),
        (
            "Der Himmel ist blau, weil die Luft den blauen Teil des Lichts stärker streut als den roten.",
            "in German",
        ),
    ],
)
def test_a_refused_fusion_keeps_the_best_answer_and_is_no_fault(written, reason):
    asked = "Why is the sky blue, and not green?"
    llms = [
        FakeMember("a", "The air scatters blue light." * 3),
        FakeMember("b", "The air scatters blue light more." * 4),
    ]
    blender = Blender(llms, ranker=FakeRanker(temperature=1000), fuser=FakeFuser(written), fuse_when="always")
    result = blender.blend(asked)
    assert (result.winner, result.fused, result.degraded) == ("b", (), ())
    assert reason in result.fusion_refused
    assert f"the best answer: {result.fusion_refused}" in result._repr_html_()
    events = list(blender.stream(asked))
    place = next(n for n, event in enumerate(events) if isinstance(event, FusionRejected))
    assert "".join(event.text for event in events[place:] if isinstance(event, Token)) == result.text
    assert events[-1].result.fusion_refused == events[place].reason


def test_a_loop_is_refused_where_all_answers_loop():
    looping = ["The sky is blue because of the air. " * count for count in (20, 30)]
    result = blend([FakeMember("a", looping[0]), FakeMember("b", looping[1])], fuser=FakeFuser(looping[1]))
    assert (result.winner, result.fused) == ("b", ())
    assert "repeats itself" in result.fusion_refused

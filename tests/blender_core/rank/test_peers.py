"""Members that judge each other's answers."""

from __future__ import annotations

import json
import re
import threading

import pytest

from blender_core import Blender, FunctionMember, GatherPolicy, RetryPolicy
from blender_core.errors import ConfigurationError, RankerError
from blender_core.rank import CombinedRanker, PeerRanker, Ranker
from blender_core.testing import FakeMember
from blender_core.types.answer import Answer, Usage

LISTED = re.compile(r'<answer label="(\w+)">\n(.*?)\n</answer>', re.DOTALL)
ONCE = GatherPolicy(retry=RetryPolicy(retries=0))


def by_length(prompt):
    shown = dict(LISTED.findall(prompt.text))
    order = sorted(shown, key=lambda label: -len(shown[label]))
    return json.dumps({"reason": f"[{order[0]}] says most", "ranking": order})


def member(name, text, judge=by_length, **options):
    """Answers a question with a text, and judges by a function or a text."""

    def step(prompt):
        if prompt.purpose != "judge":
            return text
        if isinstance(judge, BaseException):
            raise judge
        return judge(prompt) if callable(judge) else judge

    return FakeMember(name, step, **options)


def judged(one):
    """What a member was shown when it judged."""
    return [list(dict(LISTED.findall(prompt.text)).values()) for prompt in one.prompts if prompt.purpose == "judge"]


TEXTS = {
    "a": "a short one",
    "b": "an answer of middle length",
    "c": "the longest of the answers that they gave",
    "d": ".",
}


def council(**judges):
    return [member(name, text, judges.get(name, by_length)) for name, text in TEXTS.items()]


@pytest.mark.parametrize("votes", ["bradley-terry", "borda"])
@pytest.mark.parametrize("call", ["blend", "stream"])
def test_members_judge_the_others_without_names_and_not_themselves(votes, call):
    members = council()
    blender = Blender(members, ranker=PeerRanker(votes=votes), fuser=None)
    result = blender.blend("Say something") if call == "blend" else list(blender.stream("Say something"))[-1].result
    assert [result.candidates[place].model for place in result.ranking.order] == ["c", "b", "a", "d"]
    assert not result.is_degraded
    shown = [judged(one) for one in members]
    for (own_text, (seen,)), one in zip(zip(TEXTS.values(), shown, strict=True), members, strict=True):
        assert sorted(seen) == sorted(text for text in TEXTS.values() if text != own_text)
        prompt = next(prompt for prompt in one.prompts if prompt.purpose == "judge")
        assert not re.search(r"\b[abcd]\b", re.sub(r"(?s)<(request|answer)\b.*?</\1>", "", prompt.messages[1].content))
    assert set(result.candidates[0].evidence) == {"peers: b", "peers: c", "peers: d"}
    assert result.candidates[2].evidence["peers: d"] > 0 > result.candidates[3].evidence["peers: a"]
    assert "a: [3] says most" in result.ranking.reasons


async def test_the_name_in_an_asynchronous_call():
    members = council()
    result = await Blender(members, ranker="peers", fuser=None).ablend("Say something")
    assert result.winner == "c"
    assert result.usage_known
    assert result.ranker_usage.total_tokens == sum(
        len(prompt.text.split()) + len(by_length(prompt).split())
        for one in members
        for prompt in one.prompts
        if prompt.purpose == "judge"
    )
    assert result.usage.total_tokens == result.ranker_usage.total_tokens + sum(
        record.outcome.usage.total_tokens for record in result.candidates
    )


@pytest.mark.parametrize(
    ("failing", "why"),
    [
        (ValueError("out of order"), "out of order"),
        ("I like all of them.", "no ranking in 'I like all of them.'"),
        ('{"ranking": ["A", "A"]}', "no ranking"),
    ],
)
def test_a_member_that_fails_to_judge_costs_its_vote(failing, why):
    result = Blender(council(a=failing), ranker="peers", fuser=None, policy=ONCE).blend("Say something")
    assert result.winner == "c"
    assert result.ranking.ranker == "peers"
    (reason,) = result.degraded
    assert reason.startswith("ranker: peers: no vote of a: ")
    assert why in reason
    assert not any("peers: a" in record.evidence for record in result.candidates)


def test_a_member_that_hangs_costs_its_vote_not_the_ranking():
    over = threading.Event()

    def hang(prompt):
        over.wait(60)
        return by_length(prompt)

    result = Blender(council(b=hang), ranker="peers", fuser=None, deadline=2.5).blend("Say something")
    over.set()
    assert result.winner == "c"
    assert result.ranking.ranker == "peers"
    assert "no vote of b: b was not done within" in result.degraded[0]
    assert not result.usage_known


def test_only_those_that_answered_and_follow_instructions_judge():
    members = [*council(), member("base", "once upon a time there was"), FakeMember("down", ValueError("down"))]
    members[4].follows_instructions = False
    result = Blender(members, ranker="peers", fuser=None, policy=ONCE).blend("Say something")
    assert judged(members[4]) == [] == judged(members[5])
    assert set(result.ranking.evidence) == {"peers: a", "peers: b", "peers: c", "peers: d"}


def test_a_text_that_two_members_wrote_is_judged_by_neither():
    members = [*council(), member("e", f"{TEXTS['c']} ")]
    result = Blender(members, ranker="peers", fuser=None).blend("Say something")
    assert result.winner == "c"
    assert all(TEXTS["c"] not in seen for one in (members[2], members[4]) for seen in judged(one))


@pytest.mark.parametrize(
    ("texts", "best"),
    [(["Paris", "Paris", "Rome"], 0), (["Rome", "Paris", "Paris", "Paris "], 1), (["Rome", "Rome", "Oslo", "Oslo"], 0)],
)
def test_members_that_agree_are_no_fault(texts, best):
    members = [member(f"m{place}", text) for place, text in enumerate(texts)]
    result = Blender(members, ranker="peers", fuser=None).blend("Capital of France?")
    assert (result.winner, result.degraded, result.ranking.ranker) == (f"m{best}", (), "peers")
    assert all(one.calls == 1 for one in members)
    assert set(result.candidates[0].evidence) == {f"peers: {one.name}" for one in members}


def test_a_member_whose_own_answer_cannot_win_judges_the_others():
    cut = member("c", Answer("It is the city of", finish_reason="length"))
    members = [member("a", "Rome"), member("b", "It is Paris."), cut]
    result = Blender(members, ranker="peers", fuser=None).blend("Capital of France?")
    assert (result.winner, result.degraded, result.candidates[2].rank) == ("b", (), 3)
    assert [sorted(*judged(one)) for one in members if judged(one)] == [["It is Paris.", "Rome"]]


def test_without_any_vote_the_answers_are_ranked_by_words():
    result = Blender(council(**dict.fromkeys(TEXTS, "Hm")), ranker="peers", fuser=None).blend("Say something")
    assert result.ranking.ranker != "peers"
    assert "peers has no vote" in result.degraded[0]


def test_too_few_members():
    two = [member("a", "one"), member("b", "two")]
    with pytest.raises(ConfigurationError, match="peers needs 3 members and there are 2"):
        Blender(two, ranker="peers")
    with pytest.raises(ConfigurationError, match="needs 3 members"):
        Blender(two, ranker=CombinedRanker(["consensus", "peers"]))
    result = Blender([*two, FakeMember("c", ValueError("down"))], ranker="peers", fuser=None, policy=ONCE).blend("?")
    assert "answers of 2 members are left" in result.degraded[0]
    with pytest.raises(RankerError, match="has no judges"):
        PeerRanker().rank("?", ["one", "two", "three"])


def test_each_judge_sees_an_order_of_its_own():
    jury = [member(name, "") for name in "xyz"]
    texts = [f"answer {number} of several" for number in range(6)]
    PeerRanker(jury).rank("?", texts)
    orders = [tuple(seen) for one in jury for seen in judged(one)]
    assert len({*orders, tuple(texts)}) == 4


def test_a_jury_of_others():
    jury = [FunctionMember(lambda text: '{"ranking": ["A"]}', name="x"), member("y", "", by_length, usage=Usage(7, 3))]
    ranker = PeerRanker(jury, name="jury")
    assert isinstance(ranker, Ranker)
    result = Blender([member("a", "one"), member("b", "three")], ranker=ranker, fuser=None).blend("?")
    assert set(result.ranking.evidence) == {"jury: x", "jury: y"}
    assert result.ranker_usage == Usage(7, 3)
    assert not result.usage_known
    assert "PeerRanker(x, y" in repr(ranker)


def test_judges_named_by_members_and_others():
    members, outside = council(), member("outside", "")
    ranker = PeerRanker(["a", "c", outside])
    result = Blender(members, ranker=ranker, fuser=None).blend("Say something")
    assert set(result.ranking.evidence) == {"peers: a", "peers: c", "peers: outside"}
    assert [len(judged(one)) for one in members] == [1, 0, 1, 0]
    assert TEXTS["a"] not in judged(members[0])[0]
    assert "PeerRanker(a, c, outside" in repr(ranker)
    with pytest.raises(ConfigurationError, match="no member is called 'x'"):
        Blender(members, ranker=PeerRanker(["a", "x"]))
    with pytest.raises(ConfigurationError, match="peers needs 3 members"):
        Blender(members[:2], ranker=PeerRanker(["a", "b"]))


@pytest.mark.parametrize(
    "options", [{"votes": "plurality"}, {"reliability": 0.4}, {"judges": []}, {"judges": "ab"}, {"options": 5}]
)
def test_arguments_that_cannot_work(options):
    with pytest.raises(ConfigurationError):
        PeerRanker(**options)


def test_more_votes_are_more_confident():
    texts = ["x", "yy", "zzz"]

    def confidence(count, votes):
        jury = [member(f"j{place}", "") for place in range(count)]
        return PeerRanker(jury, votes=votes).rank("?", texts).confidence

    assert 0.5 < confidence(1, "bradley-terry") < confidence(5, "bradley-terry") < 1
    assert 0.5 < confidence(1, "borda") == confidence(5, "borda") < 1


@pytest.mark.parametrize("texts", [["only one"], ["the same", "the same ", " "], ["", " "]])
def test_without_two_different_answers_nobody_is_asked(texts):
    judges = [member(name, "x") for name in "abc"]
    ranking = PeerRanker(judges).rank("?", texts)
    assert ranking.order == tuple(range(len(texts)))
    assert [score == 0.0 for score in ranking.scores] == [bool(text.strip()) for text in texts]
    assert not any(judge.prompts for judge in judges)

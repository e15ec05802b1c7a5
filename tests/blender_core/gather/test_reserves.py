"""Reserves take the places of members that are skipped or give no usable answer, in order and in time."""

import pytest

from blender_core import Answer, Blender, Budget, CircuitBreaker, GatherPolicy
from blender_core.errors import ConfigurationError, QuorumError, RateLimitedError, RefusedError, UnsupportedError
from blender_core.events import MemberAnswered, MemberFailed, MemberStarted
from blender_core.testing import FakeMember, FakeRanker, run_in_virtual_time


def blend(members, reserves, accept=None, **settings):
    retries = {} if "policy" in settings else {"max_retries": 0}
    blender = Blender(members, reserves=reserves, ranker=FakeRanker(), fuser=None, **retries, **settings)
    return run_in_virtual_time(lambda: blender.ablend("Q?", accept=accept))


def asked(result):
    return [(record.model, str(record.status), record.outcome.instead_of) for record in result.candidates]


GOOD = FakeMember("good", "an answer")


def reserve(name="spare", *script, **settings):
    return FakeMember(name, *(script or ("a spare answer, longer",)), **settings)


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (ConnectionError("refused"), "error"),
        (ValueError("a bug"), "error"),
        (RateLimitedError("over"), "rate_limited"),
        (RefusedError("no"), "refused"),
        (UnsupportedError("no tools"), "unsupported"),
        ("", "error"),
        (Answer("half", finish_reason="error"), "error"),
    ],
    ids=repr,
)
def test_a_reserve_takes_the_place_of_a_member_without_an_answer(step, status):
    spare, unused = reserve(), reserve("unused")
    result = blend([FakeMember("m", step), GOOD], [spare, unused])
    assert asked(result) == [("m", status, None), ("good", "ok", None), ("spare", "ok", "m")]
    assert (result.text, result.winner, result.winner_index) == ("a spare answer, longer", "spare", 2)
    assert result.to_dict()["candidates"][2]["instead_of"] == "m"
    assert unused.calls == 0


def test_a_reserve_follows_a_timeout():
    result = blend([FakeMember("m", hang=True), GOOD], [reserve(latency_s=1)], timeout=4)
    assert asked(result)[2] == ("spare", "ok", "m")
    assert result.timings.gather == pytest.approx(5, abs=0.1)


def test_a_reserve_takes_the_place_of_a_member_that_is_skipped_at_once():
    breaker = CircuitBreaker(failures=1)
    settings = {"timeout": 4, "breaker": breaker}
    blend([FakeMember("m", hang=True), GOOD], [reserve(latency_s=1)], **settings)
    result = blend([FakeMember("m", hang=True), GOOD], [reserve(latency_s=1)], **settings)
    assert asked(result) == [("m", "skipped", None), ("good", "ok", None), ("spare", "ok", "m")]
    assert result.timings.gather == pytest.approx(1, abs=0.1)


def test_a_reserve_takes_the_place_of_an_answer_that_is_not_accepted():
    accept = lambda answer: None if "spare" in answer.text else "it names no spare"  # noqa: E731
    result = blend([GOOD, FakeMember("b", "another")], [reserve("c"), reserve("d", "spare")], accept)
    assert [record.model for record in result.candidates] == ["good", "b", "c", "d"]
    assert result.candidates[0].invalid == "it names no spare"


def test_reserves_follow_each_other():
    spares = [
        reserve("first", OSError("gone")),
        reserve("second", RefusedError("no")),
        reserve("third"),
        reserve("4th"),
    ]
    result = blend([FakeMember("m", ValueError("bad")), GOOD], spares)
    assert [(name, place) for name, _, place in asked(result)[2:]] == [("first", "m"), ("second", "m"), ("third", "m")]


def test_nobody_fails_and_no_reserve_is_asked():
    result = blend([GOOD, FakeMember("b", "another")], [spare := reserve()])
    assert len(result.candidates) == 2
    assert spare.calls == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"deadline": 10},
        {"policy": GatherPolicy(timeout=7, straggler_grace=3)},
        {"policy": GatherPolicy(timeout=7, budget=Budget(max_tokens=3))},
    ],
    ids=["deadline", "grace", "budget"],
)
def test_no_reserve_is_asked_when_the_time_or_the_budget_is_over(settings):
    result = blend([FakeMember("m", hang=True), GOOD], [spare := reserve()], **settings)
    assert [record.model for record in result.candidates] == ["m", "good"]
    assert spare.calls == 0


def test_a_reserve_counts_towards_the_quorum():
    members = [FakeMember("m", OSError("down")), GOOD]
    assert blend(members, [reserve()], quorum=2).text == "a spare answer, longer"
    assert blend([FakeMember("m", UnsupportedError("no tools")), GOOD], [reserve()], quorum=2).winner == "spare"
    with pytest.raises(QuorumError, match=r"1 of 3 members answered, the quorum is 2\. m: error .*; spare: error"):
        blend(members, [reserve("spare", OSError("down"))], quorum=2)
    with pytest.raises(ConfigurationError, match="the quorum is 3 but there are 2 members"):
        blend(members, [reserve()], quorum=3)


def test_a_reserve_that_is_down_is_left_out():
    breaker = CircuitBreaker(failures=1)
    members = [FakeMember("m", ValueError("a bug")), GOOD]
    spares = [reserve("first", ConnectionError("refused")), reserve("second")]
    for _ in range(2):
        result = blend(members, spares, breaker=breaker)
    assert asked(result)[2:] == [("first", "skipped", "m"), ("second", "ok", "m")]
    assert spares[0].calls == 1


def test_events_name_the_reserve():
    blender = Blender([FakeMember("m", ValueError("bad")), GOOD], reserves=[reserve()], ranker=FakeRanker(), fuser=None)
    seen = [
        (type(event).__name__, event.member if isinstance(event, MemberStarted) else event.outcome.member)
        for event in blender.stream("Q?")
        if isinstance(event, MemberStarted | MemberAnswered | MemberFailed)
    ]
    assert seen.index(("MemberFailed", "m")) < seen.index(("MemberStarted", "spare"))
    assert ("MemberAnswered", "spare") in seen
    assert [name for name, _ in blender.members] == ["m", "good", "spare"]

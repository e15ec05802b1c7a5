"""The circuit breaker: who is skipped, when a member is tried again, and that no call loses its quorum by it."""

import asyncio
import copy
import pickle

import pytest

from blender_core import Blender, CircuitBreaker, GatherPolicy, Status
from blender_core.errors import (
    ConfigurationError,
    MemberError,
    QuorumError,
    RateLimitedError,
    RefusedError,
    UnsupportedError,
)
from blender_core.testing import FakeMember, FakeRanker, run_in_virtual_time


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class ServerError(Exception):
    def __init__(self, status_code):
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code


DOWN = ConnectionError("refused")


def blend(*members, breaker, **settings):
    return Blender(
        [*members, FakeMember("good", "an answer")],
        **{"ranker": FakeRanker(), "fuser": None, "max_retries": 0, "breaker": breaker, **settings},
    )


def statuses(blender, calls=1):
    results = [run_in_virtual_time(lambda: blender.ablend("Q?")) for _ in range(calls)]
    return [str(result.candidates[0].status) for result in results]


def test_it_opens_half_opens_and_closes():
    clock = Clock()
    breaker = CircuitBreaker(failures=3, rest_s=10, clock=clock)
    member = FakeMember("m", *[DOWN] * 5, "back again", DOWN)
    blender = blend(member, breaker=breaker)
    assert statuses(blender, 5) == ["error"] * 3 + ["skipped"] * 2
    assert breaker.resting == {"m": 10}
    clock.now += 10
    # one trial, then twice the rest
    assert statuses(blender, 3) == ["error", "skipped", "skipped"]
    clock.now += 10
    assert statuses(blender) == ["skipped"]
    clock.now += 10
    assert statuses(blender) == ["error"]
    clock.now += 40
    assert statuses(blender) == ["ok"]
    assert breaker.resting == {}
    # the count begins anew
    assert statuses(blender, 3) == ["error"] * 3
    assert member.calls == 9


def test_the_rest_has_an_end():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, rest_s=10, clock=clock)
    blender = blend(FakeMember("m", DOWN), breaker=breaker)
    for _ in range(8):
        assert statuses(blender) == ["error"]
        clock.now += max(breaker.resting.values())
    statuses(blender)
    assert breaker.resting == {"m": 40}


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        (DOWN, True),
        (ServerError(503), True),
        (ServerError(401), True),
        (ServerError(404), True),
        (RateLimitedError("over the quota"), True),
        (TimeoutError("read"), True),
        (ServerError(400), False),
        (ServerError(413), False),
        (ValueError("a bug with this prompt"), False),
        (MemberError("not usable"), False),
        (RefusedError("no"), False),
        (UnsupportedError("no tools"), False),
        ("", False),
    ],
    ids=repr,
)
def test_what_counts_as_being_down(step, counts):
    breaker = CircuitBreaker(failures=2)
    blender = blend(FakeMember("m", step), breaker=breaker)
    assert ("skipped" in statuses(blender, 4)) == counts


def test_a_member_that_hangs_is_not_waited_for_again():
    breaker = CircuitBreaker(failures=2)
    blender = blend(FakeMember("m", hang=True), breaker=breaker, timeout=5)
    seconds = [run_in_virtual_time(lambda: blender.ablend("Q?")).timings.gather for _ in range(4)]
    assert seconds == [pytest.approx(5, abs=0.1)] * 2 + [pytest.approx(0, abs=0.1)] * 2


def test_a_straggler_is_not_down():
    members = [FakeMember("m", "late", latency_s=3), FakeMember("good", "an answer")]
    blender = Blender(
        members,
        ranker=FakeRanker(),
        fuser=None,
        policy=GatherPolicy(straggler_grace=0.5),
        breaker=CircuitBreaker(failures=1),
    )
    assert statuses(blender, 3) == ["timeout"] * 3


@pytest.mark.parametrize(("members", "quorum"), [(1, 1), (3, 1), (3, 2)])
def test_a_call_never_loses_its_quorum(members, quorum):
    """Members that rest are asked if too few others are left, or if those fail."""
    breaker = CircuitBreaker(failures=1)
    resting = [FakeMember(f"m{place}", DOWN, "back") for place in range(members)]
    blender = Blender(resting, ranker=FakeRanker(), fuser=None, max_retries=0, breaker=breaker, quorum=quorum)
    with pytest.raises(QuorumError):
        run_in_virtual_time(lambda: blender.ablend("Q?"))
    assert len(breaker.resting) == members
    result = run_in_virtual_time(lambda: blender.ablend("Q?"))
    assert [record.text for record in result.candidates] == ["back"] * quorum + [None] * (members - quorum)
    assert len(result.skipped) == members - quorum


def test_members_that_rest_are_asked_if_the_others_fail():
    breaker = CircuitBreaker(failures=1)
    first, second = FakeMember("first", DOWN, "back"), FakeMember("second", "well", ValueError("a bug"))
    blender = Blender([first, second], ranker=FakeRanker(), fuser=None, max_retries=0, breaker=breaker)
    assert [run_in_virtual_time(lambda: blender.ablend("Q?")).text for _ in range(2)] == ["well", "back"]


def test_a_result_counts_the_skipped_apart():
    blender = blend(FakeMember("m", DOWN), FakeMember("b", ValueError("bad")), breaker=CircuitBreaker(failures=1))
    blender.blend("Q?")
    result = blender.blend("Q?")
    assert [outcome.member for outcome in result.skipped] == ["m"]
    assert [outcome.member for outcome in result.failed] == ["b"]
    skipped = result.to_dict()["candidates"][0]
    assert (skipped["status"], skipped["attempts"], skipped["usage"]) == ("skipped", 0, None)
    assert skipped["reason"].startswith("1 call failed, the last with error: ConnectionError: refused; not asked for")
    assert "1/3 answered" in repr(result)
    assert "1 skipped" in repr(result)
    assert not result.degraded


def test_what_is_known_is_shared_by_blends_and_copies_but_not_by_a_pickle():
    breaker = CircuitBreaker(failures=1)
    statuses(blend(FakeMember("m", DOWN), breaker=breaker))
    other = blend(FakeMember("m", "fine"), breaker=breaker)
    assert statuses(other) == statuses(copy.deepcopy(other)) == ["skipped"]
    stranger = pickle.loads(pickle.dumps(breaker))
    assert (stranger.failures, stranger.resting) == (1, {})
    assert statuses(blend(FakeMember("m", "fine"), breaker=stranger)) == ["ok"]


def test_only_one_of_many_calls_tries_a_member_after_its_rest():
    clock = Clock()
    member = FakeMember("m", DOWN, "back", latency_s=1)
    blender = blend(member, breaker=CircuitBreaker(failures=1, rest_s=10, clock=clock))
    statuses(blender)
    clock.now += 10

    async def together():
        return await asyncio.gather(*(blender.ablend("Q?") for _ in range(5)))

    found = [str(result.candidates[0].status) for result in run_in_virtual_time(together)]
    assert sorted(found) == ["ok"] + ["skipped"] * 4


def test_a_trial_that_is_cancelled_is_followed_by_another():
    clock = Clock()
    blender = blend(FakeMember("m", DOWN, "late", "back", latency_s=1), breaker=CircuitBreaker(1, 10, clock=clock))
    statuses(blender)
    clock.now += 10

    async def given_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(blender.ablend("Q?"), 0.5)

    run_in_virtual_time(given_up)
    assert statuses(blender) == ["skipped"]
    clock.now += 10
    assert statuses(blender) == ["ok"]


def test_calls_that_began_before_the_rest_do_not_make_it_longer():
    breaker = CircuitBreaker(failures=2, rest_s=10)
    blender = blend(FakeMember("m", DOWN, latency_s=1), breaker=breaker)

    async def together():
        await asyncio.gather(*(blender.ablend("Q?") for _ in range(6)))

    run_in_virtual_time(together)
    assert 9 < breaker.resting["m"] <= 10


def test_a_clock_that_steps_back_does_not_make_a_rest_longer():
    clock = Clock()
    blender = blend(FakeMember("m", DOWN, "back"), breaker=CircuitBreaker(failures=1, rest_s=10, clock=clock))
    statuses(blender)
    clock.now -= 50
    assert statuses(blender) == ["ok"]


def test_a_rest_lasts_to_its_last_moment():
    clock = Clock()
    blender = blend(FakeMember("m", DOWN, "back"), breaker=CircuitBreaker(failures=1, rest_s=10, clock=clock))
    statuses(blender)
    clock.now += 9.5
    assert statuses(blender) == ["skipped"]
    clock.now += 0.5
    assert statuses(blender) == ["ok"]


def test_a_longer_retry_after_is_obeyed():
    breaker = CircuitBreaker(failures=1, rest_s=10, clock=Clock())
    statuses(blend(FakeMember("m", RateLimitedError("later", retry_after=35)), breaker=breaker))
    assert breaker.resting == {"m": 35}


@pytest.mark.parametrize(
    "wrong",
    [{"failures": 0}, {"failures": 1.5}, {"failures": True}, {"rest_s": 0}, {"rest_s": float("nan")}, {"rest_s": "1"}],
    ids=repr,
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        CircuitBreaker(**wrong)


@pytest.mark.parametrize("rest_s", [0.5, 1])
def test_a_rest_may_be_a_second_or_less(rest_s):
    clock = Clock()
    breaker = CircuitBreaker(failures=1, rest_s=rest_s, clock=clock)
    blender = blend(FakeMember("m", DOWN, "back"), breaker=breaker)
    assert statuses(blender, 2) == ["error", "skipped"]
    clock.now += rest_s
    assert statuses(blender) == ["ok"]


def test_its_repr_is_how_it_was_made():
    assert repr(CircuitBreaker(failures=3, rest_s=10)) == "CircuitBreaker(failures=3, rest_s=10)"


def test_without_a_breaker_every_member_is_asked_in_every_call():
    member = FakeMember("m", DOWN)
    assert statuses(blend(member, breaker=None), 9) == [str(Status.ERROR)] * 9


def test_a_rest_may_be_shorter_than_a_second():
    assert CircuitBreaker(rest_s=0.5).rest_s == 0.5

"""Gathering through the blender, in virtual time: every fault class ends in one outcome, on time."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_core import (
    Answer,
    Blender,
    Budget,
    GatherPolicy,
    Member,
    Price,
    Prompt,
    RetryPolicy,
    Status,
    ToolCall,
    Usage,
)
from blender_core.errors import ConfigurationError, MemberTimeoutError, QuorumError, RateLimitedError, RefusedError
from blender_core.events import MemberAnswered, MemberFailed, MemberRetrying, MemberStarted
from blender_core.testing import FakeMember, FakeRanker, run_in_virtual_time


class ServerError(Exception):
    def __init__(self, status_code, **headers):
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.response = type("Response", (), {"headers": {k.replace("_", "-"): v for k, v in headers.items()}})()


class InstantRanker(FakeRanker):
    """Ranking happens in a thread, which virtual time does not wait for; with no deadline that is no matter."""


def blend(members, policy=None, **settings_):
    """Blend in virtual time; returns the result and the virtual seconds gathering took."""
    blender = Blender(
        members, ranker=InstantRanker(), fuser=None, policy=policy or GatherPolicy(), rng=random.Random(7), **settings_
    )
    return run_in_virtual_time(lambda: blender.ablend("Question?"))


def by_name(result):
    return {record.outcome.member: record.outcome for record in result.candidates}


def test_members_run_side_by_side():
    members = [FakeMember(f"m{n}", f"answer {n}", latency_s=0.2 + 0.08 * n) for n in range(11)]
    result = blend(members)
    assert result.timings.gather == pytest.approx(1.0, abs=1e-3)
    assert all(record.outcome.ok for record in result.candidates)


def test_hanging_raising_and_silent_members_at_once_still_give_an_answer():
    members = [
        FakeMember("hangs", hang=True),
        FakeMember("raises", ValueError("bad")),
        FakeMember("silent", ""),
        FakeMember("good", "answer", latency_s=1),
    ]
    result = blend(members, GatherPolicy(timeout=5))
    outcomes = by_name(result)
    assert result.text == "answer"
    assert outcomes["hangs"].status is Status.TIMEOUT
    assert isinstance(outcomes["hangs"].error, MemberTimeoutError)
    assert str(outcomes["hangs"].error) == outcomes["hangs"].reason
    assert outcomes["raises"].status is Status.ERROR
    assert "bad" in outcomes["raises"].reason
    assert outcomes["silent"].status is Status.ERROR
    assert "empty" in outcomes["silent"].reason
    assert result.timings.gather == pytest.approx(5, abs=0.1)
    assert not result.degraded


def test_timeout_counts_from_the_members_own_start_and_includes_retries():
    member = FakeMember("slow", ConnectionError("reset"), "late", latency_s=3)
    result = blend([member, FakeMember("good", "ok")], GatherPolicy(timeout=4))
    outcome = by_name(result)["slow"]
    assert outcome.status is Status.TIMEOUT
    assert outcome.attempts == 2
    assert outcome.latency_s == pytest.approx(4, abs=0.1)
    assert outcome.usage is None


def test_cancelled_task_is_really_cancelled():
    slow = FakeMember("slow", "late", latency_s=100)
    blend([slow, FakeMember("good", "ok")], GatherPolicy(timeout=1))
    assert slow.cancelled == 1


def test_member_that_ignores_cancellation_does_not_hold_the_call():
    result = blend(
        [FakeMember("deaf", "late", latency_s=50, stubborn=True), FakeMember("good", "ok")], GatherPolicy(timeout=1)
    )
    assert by_name(result)["deaf"].status is Status.TIMEOUT
    assert result.timings.gather < 2


def test_a_member_that_ignores_cancellation_is_waited_for_once():
    async def timed():
        members = [FakeMember("deaf", "late", latency_s=50, stubborn=True), FakeMember("good", "ok")]
        await Blender(members, ranker=InstantRanker(), fuser=None, timeout=1).ablend("Question?")
        return asyncio.get_running_loop().time()

    # 0.05 s for its end
    assert run_in_virtual_time(timed) == pytest.approx(1.05, abs=0.01)


def test_a_clock_that_steps_back_does_not_make_a_call_longer():
    async def timed():
        loop = asyncio.get_running_loop()
        members = [FakeMember("slow", "late", latency_s=50), FakeMember("good", "ok", latency_s=0.5)]
        blender = Blender(
            members,
            ranker=InstantRanker(),
            fuser=None,
            timeout=4,
            clock=lambda: loop.time() - (3600 if loop.time() > 1 else 0),
        )
        result = await blender.ablend("Question?")
        return result, loop.time()

    result, ended = run_in_virtual_time(timed)
    assert by_name(result)["slow"].status is Status.TIMEOUT
    assert ended == pytest.approx(4, abs=0.1)
    assert all(record.latency_s >= 0 for record in result.candidates)
    assert min(result.timings.to_dict().values()) >= 0


def test_success_that_races_the_cancel_is_kept():
    class FinishesOnCancel(Member):
        async def agenerate(self, prompt):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                return Answer("just made it")

    result = blend([FinishesOnCancel("racer"), FakeMember("good", "ok")], GatherPolicy(timeout=1))
    assert by_name(result)["racer"].answer.text == "just made it"


def test_straggler_grace_starts_when_enough_have_answered():
    members = [FakeMember("a", "one", latency_s=1), FakeMember("b", "two", latency_s=2), FakeMember("c", hang=True)]
    result = blend(members, GatherPolicy(timeout=60, straggler_grace=1.5, enough=2))
    assert result.timings.gather == pytest.approx(3.5, abs=0.1)
    late = by_name(result)["c"]
    assert "straggler" in late.reason
    assert isinstance(late.error, MemberTimeoutError)


def test_a_member_that_never_started_has_no_error():
    members = [FakeMember("a", "one", latency_s=1), FakeMember("b", hang=True), FakeMember("c", "three")]
    policy = GatherPolicy(timeout=60, straggler_grace=1.5, enough=1, max_concurrency=1)
    outcome = by_name(blend(members, policy))["c"]
    assert "not started" in outcome.reason
    assert (outcome.status, outcome.error) == (Status.CANCELLED, None)


def test_quorum_not_met_names_every_cause():
    members = [FakeMember("a", "one"), FakeMember("b", ValueError("no key")), FakeMember("c", hang=True)]
    with pytest.raises(QuorumError) as caught:
        blend(members, GatherPolicy(timeout=2, quorum=2))
    assert "1 of 3" in str(caught.value)
    assert "no key" in str(caught.value)
    assert "c: timeout" in str(caught.value)
    assert [outcome.member for outcome in caught.value.outcomes] == ["a", "b", "c"]
    assert isinstance(caught.value.__cause__, ValueError)


def test_all_members_fail():
    with pytest.raises(QuorumError, match="0 of 2"):
        blend([FakeMember("a", ValueError("x")), FakeMember("b", "   ")])


def test_passing_errors_are_retried_and_others_are_not():
    passing = FakeMember("passing", ServerError(503), ConnectionResetError(), "third time")
    final = FakeMember("final", ServerError(401), "never asked again")
    result = blend([passing, final], GatherPolicy(retry=RetryPolicy(retries=2)))
    assert by_name(result)["passing"].attempts == 3
    assert by_name(result)["passing"].ok
    assert final.calls == 1


def test_retries_run_out():
    member = FakeMember("down", ServerError(500))
    blend([member, FakeMember("good", "ok")], GatherPolicy(retry=RetryPolicy(retries=3)))
    assert member.calls == 4


def test_retry_after_is_honoured():
    member = FakeMember("busy", ServerError(429, retry_after="7"), "done")
    result = blend([member], GatherPolicy(timeout=60))
    assert by_name(result)["busy"].ok
    assert result.timings.gather >= 7


def test_retry_after_that_does_not_fit_ends_at_once():
    member = FakeMember("busy", RateLimitedError("quota", retry_after=30), "done")
    result = blend([member, FakeMember("good", "ok")], GatherPolicy(timeout=10))
    outcome = by_name(result)["busy"]
    assert outcome.status is Status.RATE_LIMITED
    assert "does not fit" in outcome.reason
    assert result.timings.gather < 1


def test_refusal_is_its_own_outcome():
    members = [
        FakeMember("flagged", Answer("", refusal="content_filter")),
        FakeMember("raised", RefusedError("policy")),
        FakeMember("good", "ok"),
    ]
    outcomes = by_name(blend(members))
    assert outcomes["flagged"].status is outcomes["raised"].status is Status.REFUSED


def test_tool_calls_without_text_are_an_answer():
    result = blend([FakeMember("tools", Answer("", (ToolCall("f", {}),)))])
    assert result.answer.tool_calls[0].name == "f"


@pytest.mark.parametrize("bad", [Answer(None), Answer(42)])
def test_answers_that_are_not_text_are_errors(bad):
    result = blend([FakeMember("odd", bad), FakeMember("good", "ok")])
    assert by_name(result)["odd"].status is Status.ERROR


def nested(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Answer("", (ToolCall("f", nested(600)),)), "tool call 'f'"),
        (Answer("text beside it", (ToolCall("f", {"list": [nested(600)]}),)), "tool call 'f'"),
        (Answer("", (ToolCall("f", [1, 2]),)), "arguments"),
        (Answer("", (ToolCall(None),)), "name"),
        (Answer("", ({"name": "f"},)), "dict"),
        (Answer("x", tool_calls=None), "NoneType"),
        (Answer("x", cost="0.1"), "cost is '0.1'"),
        (Answer("x", cost=float("nan")), "cost is nan"),
        (Answer("x", usage={"input": 1}), "usage is {'input': 1}"),
        (Answer("x", usage=Usage(None, 3)), "input_tokens is None"),
    ],
)
def test_an_odd_answer_costs_that_member_alone(bad, reason):
    result = blend([FakeMember("odd", bad), FakeMember("good", "well"), FakeMember("short", "ok")])
    outcome = by_name(result)["odd"]
    assert (outcome.status, result.winner, result.degraded) == (Status.ERROR, "good", ())
    assert reason in outcome.reason
    assert result.to_dict()["cost"] is None


def test_the_usage_of_an_answer_that_cannot_be_used_is_kept():
    odd = FakeMember("odd", Answer("", (ToolCall("f", nested(600)),), usage=Usage(5, 2)))
    assert by_name(blend([odd, FakeMember("good", "ok")]))["odd"].usage == Usage(5, 2)


def test_member_that_returns_something_else_is_an_error():
    class Wrong(Member):
        async def agenerate(self, prompt):
            return "bare text"

    assert "instead of an Answer" in by_name(blend([Wrong("wrong"), FakeMember("good", "ok")]))["wrong"].reason


def test_base_exceptions_of_a_member_do_not_end_the_call():
    class Panic(BaseException):
        """What extension modules raise when they panic."""

    result = blend([FakeMember("panics", Panic("x")), FakeMember("leaves", GeneratorExit()), FakeMember("good", "ok")])
    assert by_name(result)["panics"].status is Status.ERROR
    assert result.text == "ok"


def test_member_cancelled_from_inside_is_recorded():
    result = blend([FakeMember("inner", asyncio.CancelledError()), FakeMember("good", "ok")])
    assert by_name(result)["inner"].status is Status.CANCELLED


def test_max_concurrency_is_kept_over_all_calls_of_a_blender():
    running, peak = 0, 0

    class Counting(Member):
        async def agenerate(self, prompt):
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(1)
            running -= 1
            return Answer("ok")

    blender = Blender(
        [Counting(f"m{n}") for n in range(4)], ranker=FakeRanker(), fuser=None, policy=GatherPolicy(max_concurrency=3)
    )

    async def two_calls():
        return await asyncio.gather(blender.ablend("a"), blender.ablend("b"))

    run_in_virtual_time(two_calls)
    assert peak == 3


def test_waiting_for_a_slot_does_not_count_into_the_timeout():
    members = [FakeMember(f"m{n}", "ok", latency_s=3) for n in range(3)]
    result = blend(members, GatherPolicy(timeout=4, max_concurrency=1))
    assert all(record.outcome.ok for record in result.candidates)
    assert result.timings.gather == pytest.approx(9, abs=0.1)


def test_token_budget_stops_what_is_not_started():
    members = [FakeMember(f"m{n}", "ok", usage=Usage(50, 60)) for n in range(3)]
    result = blend(members, GatherPolicy(max_concurrency=1, budget=Budget(max_tokens=200)))
    outcomes = by_name(result)
    assert [outcomes[f"m{n}"].status for n in range(3)] == [Status.OK, Status.OK, Status.CANCELLED]
    assert "budget: 220 of 200 tokens" in outcomes["m2"].reason
    assert outcomes["m2"].attempts == 0


@pytest.mark.parametrize(("characters", "reserved"), [(400, 100), (401, 101), (3, 1)])
def test_a_call_reserves_a_token_for_each_four_characters_begun(characters, reserved):
    members = [FakeMember("a", "ok", latency_s=1), FakeMember("b", "ok")]
    budget = Budget(max_tokens=reserved)
    blender = Blender(members, ranker=InstantRanker(), fuser=None, policy=GatherPolicy(budget=budget))
    outcome = by_name(run_in_virtual_time(lambda: blender.ablend("x" * characters)))["b"]
    assert f"budget: {reserved} of {reserved} tokens" in outcome.reason


def test_cost_budget_and_cost_records():
    price = Price(1_000_000, 2_000_000)
    members = [FakeMember(f"m{n}", "ok", usage=Usage(1, 1), price=price) for n in range(3)]
    result = blend(members, GatherPolicy(max_concurrency=1, budget=Budget(max_cost=5)))
    assert by_name(result)["m0"].cost == 3
    assert by_name(result)["m2"].status is Status.CANCELLED
    assert result.cost == 6


def test_the_cost_that_an_answer_states_counts_for_the_budget():
    answer = Answer("ok", cost=5.0)
    members = [FakeMember(f"m{n}", answer, price=Price(0, 0)) for n in range(3)]
    outcomes = by_name(blend(members, GatherPolicy(max_concurrency=1, budget=Budget(max_cost=8))))
    assert [outcomes[f"m{n}"].status for n in range(3)] == [Status.OK, Status.OK, Status.CANCELLED]
    assert "budget: 10 of 8 cost" in outcomes["m2"].reason


def test_a_stated_cost_that_is_lower_than_the_price_leaves_room():
    members = [
        FakeMember(f"m{n}", Answer("ok", usage=Usage(1, 1), cost=0.5), price=Price(1_000_000, 1_000_000))
        for n in range(3)
    ]
    result = blend(members, GatherPolicy(max_concurrency=1, budget=Budget(max_cost=4)))
    assert all(record.outcome.ok for record in result.candidates)


def test_cost_budget_needs_prices():
    with pytest.raises(ConfigurationError, match="no price for a"):
        blend([FakeMember("a", "ok")], GatherPolicy(budget=Budget(max_cost=1)))


def test_exhausted_budget_leaves_out_retries():
    member = FakeMember("busy", ServerError(503), "done")
    spender = FakeMember("spender", "ok", usage=Usage(500, 500))
    result = blend([spender, member], GatherPolicy(max_concurrency=1, budget=Budget(max_tokens=10_000)))
    assert by_name(result)["busy"].ok
    member = FakeMember("busy", ServerError(503), "done", latency_s=1)
    result = blend([spender, member], GatherPolicy(budget=Budget(max_tokens=900)))
    assert "no retry: budget" in by_name(result)["busy"].reason


def test_gathering_ends_at_its_share_of_the_deadline():
    result = blend([FakeMember("a", "ok"), FakeMember("b", hang=True)], GatherPolicy(timeout=None), deadline=10)
    assert result.timings.gather == pytest.approx(7, abs=0.1)


def test_without_a_quorum_gathering_uses_the_rest_of_the_deadline():
    late = FakeMember("late", "ok", latency_s=8.5)
    result = blend([late, FakeMember("b", hang=True)], GatherPolicy(timeout=None), deadline=10)
    assert by_name(result)["late"].ok
    with pytest.raises(QuorumError):
        blend([FakeMember("later", "ok", latency_s=9.9)], GatherPolicy(timeout=None), deadline=10)


def test_outer_cancel_leaves_no_task_behind():
    slow = [FakeMember(f"m{n}", hang=True) for n in range(3)]

    async def cancelled():
        task = asyncio.create_task(Blender(slow, fuser=None, ranker=FakeRanker()).ablend("q"))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]

    assert run_in_virtual_time(cancelled) == []
    assert all(member.cancelled == 1 for member in slow)


def test_events_of_gathering():
    members = [FakeMember("a", ServerError(503), "ok"), FakeMember("b", ValueError("x"))]

    async def events():
        return [event async for event in Blender(members, ranker=FakeRanker(), fuser=None).astream("q")]

    seen = run_in_virtual_time(events)
    assert sum(isinstance(event, MemberStarted) for event in seen) == 2
    assert [event.attempt for event in seen if isinstance(event, MemberRetrying)] == [1]
    ends = {e.outcome.member: type(e) for e in seen if isinstance(e, MemberAnswered | MemberFailed)}
    assert ends == {"a": MemberAnswered, "b": MemberFailed}


def test_prompt_options_reach_members_and_cannot_be_changed():
    member = FakeMember("a", "ok")
    Blender([member], fuser=None).blend(Prompt.of("q").with_options(stop=["x"]))
    options = member.prompts[0].options
    assert options["stop"] == ["x"]
    with pytest.raises(TypeError):
        options["stop"] = None


scripts = st.sampled_from(["ok", "", "error", "hang", "slow", "flaky", "refuse"])


@settings(max_examples=60)
@given(st.lists(scripts, min_size=1, max_size=8), st.floats(0.5, 5), st.integers(1, 3))
def test_exactly_one_outcome_a_member_and_in_time_whatever_they_do(kinds, timeout, concurrency):
    makers = {
        "ok": lambda n: FakeMember(n, "fine", latency_s=0.1),
        "": lambda n: FakeMember(n, " \n"),
        "error": lambda n: FakeMember(n, KeyError("x")),
        "hang": lambda n: FakeMember(n, hang=True),
        "slow": lambda n: FakeMember(n, "late", latency_s=50),
        "flaky": lambda n: FakeMember(n, ServerError(502), "fine"),
        "refuse": lambda n: FakeMember(n, RefusedError("no")),
    }
    members = [makers[kind](f"m{n}") for n, kind in enumerate(kinds)]
    policy = GatherPolicy(timeout=timeout, max_concurrency=concurrency)
    try:
        outcomes = [record.outcome for record in blend(members, policy).candidates]
        assert any(outcome.ok for outcome in outcomes)
    except QuorumError as error:
        outcomes = list(error.outcomes)
        assert not any(outcome.ok for outcome in outcomes)
    assert [outcome.index for outcome in outcomes] == list(range(len(kinds)))
    for outcome in outcomes:
        assert outcome.ok == (outcome.answer is not None)
        assert outcome.latency_s <= timeout + 0.2
        assert outcome.ok or outcome.reason
